"""Commands of the node's command line, one module each."""
