"""Coverage-guided fuzzing of what strangers' text meets first: `make fuzz`."""
