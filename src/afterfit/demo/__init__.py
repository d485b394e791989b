"""`afterfit demo`: a real model lives through the flights of 2013, before the real gateway and the real loop."""
