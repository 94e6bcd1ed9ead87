"""What `run` tries beside decoding: each study asks the run's model something and becomes sections of the report."""
