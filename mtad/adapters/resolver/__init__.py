"""IResolver over the DNS: dnspython is codec, Twisted carries the bytes (DESIGN D11).

stub      StubResolver: which server when, CNAMEs, questions shared, what is remembered
codec     questions to octets, octets to what they mean
carriage  one exchange with one server, by UDP or TCP
cache     answers for as long as they are good
servers   the system's servers, from resolv.conf
"""
