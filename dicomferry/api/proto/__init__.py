"""The contract between clients and the service, as protocol buffers."""
