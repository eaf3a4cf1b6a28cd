"""The inputs: cluster.toml and .env, read into frozen models, all problems at once."""
