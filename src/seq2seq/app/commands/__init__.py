"""One module for each command, with `main(arguments)`; the command line imports the one it needs."""
