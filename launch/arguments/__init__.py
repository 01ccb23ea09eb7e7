"""What commands share: reading and checking of their arguments."""
