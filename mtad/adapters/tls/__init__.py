"""ITlsContexts over OpenSSL (RFC 9325): TLS 1.2 and later.

contexts      TlsContexts: what a connection begins TLS with, as a server and as a client
certificates  ServerCertificates: which certificate a peer is shown, and the watch over their files
certificate   one certificate and its key, from their files
"""
