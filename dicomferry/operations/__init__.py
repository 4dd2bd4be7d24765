"""Operations: long-running jobs, their records and who owns them."""
