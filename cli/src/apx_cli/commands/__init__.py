"""One module per command, or per family of commands; each offers `command`."""
