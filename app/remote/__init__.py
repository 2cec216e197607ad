"""Every outgoing HTTP call that is not mail, behind one guard against forged addresses."""
