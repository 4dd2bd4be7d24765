"""Transfer syntaxes and MIME types: what is asked for, decode, encode, render. No Beam."""
