"""Other people's code, kept from ending the process, from printing, and from changing what is computed."""
