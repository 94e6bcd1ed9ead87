"""What a served model does to its users and what its users do to it: figures, drift, alerts, logs."""
