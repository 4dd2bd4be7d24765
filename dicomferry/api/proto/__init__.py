"""The contract: what clients and the service say to each other, as protocol buffers."""
