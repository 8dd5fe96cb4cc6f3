"""Every sentence mtad says to a peer, by name, with its enhanced status code (RFC 3463, RFC 5321 §4.2.3).

No internals, no words of a peer beyond what is named. tests/quality checks the whole table.
"""

from mtad.model.reply import Reply

HELP = Reply(
    214,
    "2.0.0",
    ("Commands: EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT", "What else there is, EHLO tells"),
)
BYE = Reply(221, "2.0.0", ("Bye",), closes=True)
STARTTLS_READY = Reply(220, "2.0.0", ("Ready to start TLS",))
LOGGED_IN = Reply(235, "2.7.0", ("Logged in",))
OK = Reply(250, "2.0.0", ("OK",))
CHUNK_TAKEN = Reply(250, "2.0.0", ("Chunk taken",))
SENDER_OK = Reply(250, "2.1.0", ("Sender OK",))
RECIPIENT_OK = Reply(250, "2.1.5", ("Recipient OK",))
VRFY_CANNOT = Reply(252, "2.5.2", ("Cannot VRFY user, but will take a message for it and try to deliver",))
START_DATA = Reply(354, None, ("End data with <CR><LF>.<CR><LF>",))

SHUTTING_DOWN = Reply(421, "4.3.2", ("Shutting down, try again shortly",), closes=True)
IDLE_TIMEOUT = Reply(421, "4.4.2", ("Idle for too long, closing",), closes=True)
TOO_SLOW = Reply(421, "4.4.2", ("Message comes too slowly, closing",), closes=True)
CHUNK_UNREADABLE = Reply(421, "4.5.4", ("Cannot tell where this chunk ends, closing",), closes=True)
FAR_TOO_LARGE = Reply(421, "4.3.4", ("Message goes on far beyond the size limit, closing",), closes=True)
SESSION_TOO_OLD = Reply(421, "4.4.2", ("Session is open for too long, closing",), closes=True)
TOO_BUSY = Reply(421, "4.3.2", ("Too busy now, try again later",), closes=True)
TOO_MANY_CONNECTIONS = Reply(421, "4.7.0", ("Too many connections, try again later",), closes=True)
TOO_MANY_FROM_YOU = Reply(421, "4.7.0", ("Too many connections from your address, try again later",), closes=True)
TOO_MANY_ERRORS = Reply(421, "4.7.0", ("Too many errors, closing",), closes=True)
TOO_MANY_REFUSED = Reply(421, "4.7.0", ("Too many refused recipients, closing",), closes=True)
TOO_MANY_LOGINS = Reply(421, "4.7.0", ("Too many failed logins, closing",), closes=True)
LOGINS_PAUSED = Reply(454, "4.7.0", ("Too many failed logins, try again later",))
LOGIN_TROUBLE = Reply(454, "4.7.0", ("Cannot check the login now, try again later",))
TEMPORARY_TROUBLE = Reply(451, "4.3.0", ("Temporary trouble on this server, try again later",))
CLAIM_PENDING = Reply(450, "4.7.1", ("This domain is not verified here yet, try again later",))
STORAGE_FULL = Reply(452, "4.3.1", ("No room for the message now, try again later",))
NO_ROOM = Reply(452, "4.3.1", ("Too busy to take a message now, try again later",))
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", ("Too many recipients in one transaction",))

SYNTAX_ERROR = Reply(500, "5.5.2", ("Syntax error",))
LOGIN_TOO_LONG = Reply(500, "5.5.6", ("Authentication line too long",))
BAD_BASE64 = Reply(501, "5.5.2", ("Cannot decode this base64",))
BAD_LOGIN = Reply(501, "5.5.2", ("This is no answer of the mechanism",))
LOGIN_CANCELLED = Reply(501, "5.7.0", ("Authentication cancelled",))
UNKNOWN_MECHANISM = Reply(504, "5.5.4", ("Mechanism not supported",))
LINE_TOO_LONG = Reply(500, "5.5.2", ("Command line too long",))
UNKNOWN_COMMAND = Reply(500, "5.5.1", ("Command not recognised",))
BAD_ARGUMENTS = Reply(501, "5.5.4", ("Syntax error in arguments",))
NOT_IMPLEMENTED = Reply(502, "5.5.1", ("Command not implemented",))
BAD_SEQUENCE = Reply(503, "5.5.1", ("Bad sequence of commands",))
HELO_FIRST = Reply(503, "5.5.1", ("Send EHLO or HELO first",))
MAIL_FIRST = Reply(503, "5.5.1", ("Send MAIL first",))
NESTED_MAIL = Reply(503, "5.5.1", ("A transaction is open already, send RSET first",))
NO_RECIPIENTS = Reply(554, "5.5.1", ("No valid recipients",))
EARLY_TALKER = Reply(554, "5.5.1", ("Wait for the greeting before you talk, closing",), closes=True)
BAD_SENDER_SYNTAX = Reply(501, "5.1.7", ("Bad sender address syntax",))
BAD_RECIPIENT_SYNTAX = Reply(501, "5.1.3", ("Bad recipient address syntax",))
NON_ASCII_ADDRESS = Reply(553, "5.6.7", ("Non-ASCII addresses are for mail with SMTPUTF8",))
UNKNOWN_PARAMETER = Reply(555, "5.5.4", ("Parameter not recognised or not implemented",))

LOGIN_FIRST = Reply(530, "5.7.0", ("Authentication required",))
STARTTLS_FIRST = Reply(530, "5.7.0", ("TLS is required first",))
LOGIN_REFUSED = Reply(535, "5.7.8", ("User name or password not accepted",))
ALREADY_LOGGED_IN = Reply(503, "5.5.1", ("Already logged in",))
SENDER_NOT_PERMITTED = Reply(553, "5.7.1", ("Not permitted to send as this address",))
UNKNOWN_LOGIN = Reply(550, "5.7.8", ("Nobody logs in with this name",))
AUTHOR_NOT_PERMITTED = Reply(550, "5.7.1", ("Not permitted to send as an address in the From field",))
FROM_MISSING = Reply(550, "5.7.1", ("The message has no From field with an address in it",))
FROM_UNREADABLE = Reply(550, "5.7.1", ("The From field of the message cannot be read",))
NO_SUCH_USER = Reply(550, "5.1.1", ("No such user here",))
MAILBOX_DISABLED = Reply(550, "5.2.1", ("This mailbox does not accept messages",))
BARE_NEWLINE = Reply(550, "5.5.2", ("Message contains a bare CR or LF",))
LINE_OVER_LIMIT = Reply(550, "5.6.0", ("Message contains a line over 65536 octets",))
NUL_OCTET = Reply(550, "5.5.2", ("Message contains a NUL octet",))
TOO_LARGE = Reply(552, "5.3.4", ("Message size exceeds the limit",))
HEADER_TOO_LARGE = Reply(552, "5.3.4", ("Message header exceeds 1 MB",))
ROUTING_LOOP = Reply(554, "5.4.6", ("Too many Received headers, the message loops",))
RELAY_DENIED = Reply(554, "5.7.1", ("Relay access denied",))

# RFC 7372 §3; a policy that refuses is 5.7.1.
SPF_FAILED = Reply(550, "5.7.23", ("SPF: the envelope sender's domain does not permit this host to send",))
SPF_TROUBLE = Reply(451, "4.7.24", ("SPF cannot be checked now, try again later",))
DKIM_FAILED = Reply(550, "5.7.20", ("No DKIM signature of this message is valid",))
NO_AUTHOR = Reply(550, "5.7.1", ("The From field names nobody whose domain could be checked",))
IDENTITY_TROUBLE = Reply(451, "4.7.0", ("The sender cannot be authenticated now, try again later",))


def dmarc_refused(domain: str) -> Reply:
    """Return the refusal of mail whose author's domain asks for that (RFC 9989 §7.2); `domain` is an A-label."""
    return Reply(550, "5.7.1", (f"DMARC: {domain} does not recognise this message as its own",))


def greeting(hostname: str) -> Reply:
    """Return the 220 of RFC 5321 §4.3.1."""
    return Reply(220, None, (f"{hostname} ESMTP mtad",))


def hello(hostname: str, keywords: tuple[str, ...] = ()) -> Reply:
    """Return the 250 to HELO (no keywords) or EHLO (RFC 5321 §4.1.1.1); neither has an enhanced code."""
    return Reply(250, None, (hostname, *keywords))


def challenge(text: str) -> Reply:
    """Return the 334 of RFC 4954 §4: a question in base64."""
    return Reply(334, None, (text,))


def queued(printed_id: str) -> Reply:
    """Return the promise: the message is on disk under this id."""
    return Reply(250, "2.0.0", (f"OK queued as {printed_id}",))
