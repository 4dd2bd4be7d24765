"""Starting jobs: local processes, their queue, and Dataflow."""
