"""What takes a process's rights away. Standard library only: the launcher imports it in a bare interpreter."""
