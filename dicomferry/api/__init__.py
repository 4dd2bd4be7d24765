"""How people and programs reach the pipelines: command line, REST, gRPC."""
