"""Where jobs run beside a laptop: Dataflow templates, Airflow DAGs."""
