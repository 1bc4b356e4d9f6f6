"""Programs that make, fetch or transcribe data; nothing in serlib runs them unasked."""
