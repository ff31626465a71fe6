"""Other libraries' interfaces over this package, for programs that were written for them."""
