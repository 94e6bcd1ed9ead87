"""What `run` and `evaluate` measure, one module a question: retrieval, answers, refusal, attacks."""
