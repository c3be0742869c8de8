"""What made the embedded texts: run by hand, and never needed to use them."""
