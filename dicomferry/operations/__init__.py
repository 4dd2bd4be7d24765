"""Operations: long-running jobs, their records and their owners."""
