"""The SQL of the queue's hot path: prepared once a connection, parameters in binary (DESIGN D6-D8).

Every statement that acts for a node holds the node's row FOR KEY SHARE in its first CTE, does nothing without it,
and says in its first column whether it stands. All times are parameters: no clock of the database's is used.

The tables have no foreign keys; these statements keep them together:
- a message, its rows, its content and its first events appear in one statement, or not at all;
- the settlement that takes all rows of a message takes message and content in the same statement; any other first
  locks the messages concerned in the order of their ids, so that of two that take the last rows at the same moment
  one comes second and sees that nothing is left.

No plan may bet on how many rows there are. A queue that was empty when it was analysed counts as empty until autovacuum
comes again, a minute and a hundred thousand messages later, and whatever can be joined from either side is then joined
by reading all of an index. So no table of the queue is joined: rows are found by `= any (array(…))` of their keys, or
one by one in a lateral subquery that `offset 0` keeps apart; what else must be so of a row is a condition `is true`,
which the planner leaves one.
"""

from mtad.adapters.postgres.binary import BOOL, BYTEA, INT2, INT4, INT8, TEXT, TIMESTAMP, Records, bounded
from mtad.adapters.postgres.libpq import Statement
from mtad.model.job import DESTINATION_OCTETS

_ME = "me as (select from nodes where owner = $1::int8 for key share)"


# The events of those settlements `t` that settled something.
_NOTED = """
    noted as (
        insert into message_events (at, message, organisation, kinds, events)
        select t.at, t.message, t.organisation, string_to_array(t.kinds, ','), t.events
        from t where t.kinds <> '' and t.s in (select s from settled)
    )"""

# How long a row `q` that was due waited behind holds that closed its lane and are over; their rows are told by `due`,
# which is after the end of a hold for whatever was held by it, tried or freed since.
_WAITED = """
    select sum(h.released_at - greatest(h.created_at, q.due)) from holds h
    where h.released_at > q.due and (h.organisation is null or h.organisation = q.organisation)
        and (h.scope = 'organisation'
            or h.scope in ('domain', 'recipient-domain')
            and h.what = substr(q.destination, strpos(q.destination, ':') + 1))
"""


def _statement(name: str, sql: str, first: int = 2, shared: str = "", **relations: Records) -> Statement:
    """Return a statement in whose SQL `{me}` stands for the CTE that holds the node, `$1`.

    `{noted}` stands for the CTE that writes the events of settlements, `{waited}` for how long a row `q` waited behind
    holds, `{shared}` for what another statement has as well, `{r}` for the rows of relation `r`; the relations' arrays
    are the parameters from `$first` on, in order.
    """
    places = {}
    for alias, records in relations.items():
        places[alias] = records.unnest(first, alias)
        first += len(records.names)
    return Statement(name, sql.replace("{shared}", shared).format(me=_ME, noted=_NOTED, waited=_WAITED, **places))


MESSAGES = Records(
    id=INT8, organisation=INT8, direction=TEXT, reverse_path=TEXT, recipients=INT2, content_id=INT8, copies=INT2,
    size=INT4, received_at=TIMESTAMP, smtputf8=BOOL, ret=TEXT, envid=TEXT,
)  # fmt: skip
ROWS = Records(
    message=INT8, n=INT2, destination=bounded(TEXT, DESTINATION_OCTETS), recipient=TEXT, original=TEXT,
    expires_at=TIMESTAMP, notify=TEXT, orcpt=TEXT, expanded=BOOL, quarantined=BOOL,
)  # fmt: skip
EVENTS = Records(message=INT8, kinds=TEXT, events=BYTEA)
KEYS = Records(message=INT8, key=INT8)
CHUNK_PLACES = Records(content_id=INT8, n=INT4)
CHUNKS = Records(content_id=INT8, n=INT4, chunk=BYTEA)


# CTEs that insert those messages `m` that meet a condition, with their rows, events, keys and chunks. What is there
# already gets nothing added.
_INSERTING = """
    inserted as (
        insert into messages (id, organisation, direction, reverse_path, recipients, content_id, copies, size,
            received_at, smtputf8, ret, envid)
        select m.* from {{m}} where {condition}
        on conflict do nothing
        returning id, organisation, content_id, received_at
    ), queued as (
        insert into message_queue (message, n, organisation, destination, recipient, original, status, claim, due,
            expires_at, owner, notify, orcpt, expanded)
        select r.message, r.n, i.organisation, r.destination, r.recipient, r.original, {status}, {claim},
            i.received_at, r.expires_at, {owner}, r.notify, r.orcpt, r.expanded
        from {{r}} join inserted i on i.id = r.message
    ), told as (
        insert into message_events (at, message, organisation, kinds, events)
        select i.received_at, i.id, i.organisation, string_to_array(e.kinds, ','), e.events
        from {{e}} join inserted i on i.id = e.message
    ), found as (
        insert into message_keys (at, organisation, key, message)
        select i.received_at, i.organisation, k.key, i.id
        from {{k}} join inserted i on i.id = k.message
    ), stored as (
        insert into message_content (content_id, n, chunk)
        select c.* from {{c}} where c.content_id in (select content_id from inserted)
        on conflict do nothing
    )"""

# $1 owner, then MESSAGES, ROWS, EVENTS, KEYS, CHUNKS. Repeated, it adds nothing to messages that are there already.
ACCEPT = _statement(
    "accept",
    "with {me}, {shared} select exists (select from me)",
    shared=_INSERTING.format(
        condition="exists (select from me)",
        status="case when r.quarantined then 'quarantined' else 'delivering' end",
        claim="1",
        owner="case when r.quarantined then null else $1 end",
    ),
    m=MESSAGES,
    r=ROWS,
    e=EVENTS,
    k=KEYS,
    c=CHUNKS,
)

# $1 content, $2 n, $3 chunk: one of a content too large to go with ACCEPT, before it in its transaction.
STORE_CHUNK = Statement(
    "store_chunk",
    """
    insert into message_content (content_id, n, chunk) values ($1::int8, $2::int4, $3::bytea) on conflict do nothing
    """,
)

# $1 content, $2 messages: takes back the chunks when ACCEPT, before it in its transaction, did nothing.
TAKE_BACK = Statement(
    "take_back",
    """
    delete from message_content
    where content_id = $1::int8 and not exists (select from messages where id = any ($2::int8[]))
    """,
)

# $1 names of connections that broke while they were asked something: what they still do must end first.
END_SESSIONS = Statement(
    "end_sessions",
    """
    select pg_terminate_backend(pid, 5000) from pg_stat_activity
    where application_name = any ($1::text[]) and datname = current_database() and pid <> pg_backend_pid()
    """,
)

FORGOTTEN = Records(message=INT8, organisation=INT8, at=TIMESTAMP, kinds=TEXT, events=BYTEA)

# FORGOTTEN, KEYS: acceptances nobody was told of. Comes between LOCK_MESSAGES and CLEAN. Rows go whose claim is the
# acceptance's: nobody had them since, whoever owns them. A message that loses all its rows was never there; of any
# other it is told, once, what became of it.
FORGET = _statement(
    "forget",
    """
    with f as (select * from {f}),
    unqueued as (
        delete from message_queue q where q.message = any (array(select message from f)) and q.claim = 1
        returning q.message
    ), undone as (
        select m.id from messages m
        where m.id = any (array(select message from f))
            and m.recipients = (select count(*) from unqueued where unqueued.message = m.id)
    ), untold as (
        delete from message_events e where e.message = any (array(select id from undone))
    ), unfound as (
        delete from message_keys o
        where o.key = any (array(select k.key from {k})) and o.message = any (array(select id from undone))
    )
    insert into message_events (at, message, organisation, kinds, events)
    select f.at, f.message, f.organisation, string_to_array(f.kinds, ','), f.events
    from f
    where f.message not in (select id from undone)
        and (select true from message_events e where e.message = f.message limit 1)
        and (
            select true from message_events e
            where e.message = f.message and e.kinds = string_to_array(f.kinds, ',') limit 1
        ) is null
    """,
    first=1,
    f=FORGOTTEN,
    k=KEYS,
)

# `s` numbers the settlements of a batch, apart from the messages they settle.
SETTLEMENTS = Records(s=INT8, message=INT8, organisation=INT8, at=TIMESTAMP, kinds=TEXT, events=BYTEA)
RESULTS = Records(s=INT8, message=INT8, n=INT2, claim=INT4)
# `disposal` is a value of Disposal; `due` counts for 'again' and 'untried', and with a `hold` that is not 0.
DISPOSALS = Records(
    s=INT8, message=INT8, n=INT2, claim=INT4, disposal=TEXT, due=TIMESTAMP, noticed=BOOL, hold=INT8,
)  # fmt: skip
# The rows a report tells of.
SUBJECTS = Records(s=INT8, n=INT2, report=INT8)

# $1 owner, $2 the id of a content that is kept as all from it on, SETTLEMENTS, RESULTS: each takes all rows its message
# ever had, if their claims stand.
SETTLE_WHOLE = _statement(
    "settle_whole",
    """
    with {me},
    t as (select * from {t}),
    r as (select * from {r}),
    gone as (
        delete from message_queue q
        where q.message = any (array(select message from r)) and q.n = any (array(select n from r))
            and ((q.message, q.n, q.claim) in (select message, n, claim from r)) is true
            and exists (select from me)
        returning q.message, q.n, q.claim
    ), settled as (
        select distinct on (message, n, claim) r.s from r join gone using (message, n, claim)
    ), whole as (
        select t.message, count(*) as rows from t join settled using (s) group by t.s, t.message
    ), emptied as (
        delete from messages m
        where m.id = any (array(select message from whole)) and m.copies = 1
            and ((m.id, m.recipients) in (select message, rows from whole)) is true
        returning m.content_id
    ), freed as (
        delete from message_content c
        where c.content_id = any (array(select content_id from emptied)) and c.content_id < $2::int8
    ),
    {noted}
    select exists (select from me)
    """,
    first=3,
    t=SETTLEMENTS,
    r=RESULTS,
)

# $1 messages, $2 those of them that share their content. Comes before SETTLE_SOME or FORGET, and CLEAN after that.
LOCK_MESSAGES = Statement(
    "lock_messages",
    """
    select from messages where id = any (array(
        select unnest($1::int8[])
        union
        select sibling.id
        from unnest($2::int8[]) as one(id)
        cross join lateral (select content_id from messages where id = one.id offset 0) as its
        cross join lateral (
            select id from messages where content_id = its.content_id and copies > 1 offset 0
        ) as sibling
    )) order by id for update
    """,
)

# $1 owner, SETTLEMENTS, DISPOSALS, SUBJECTS, then the reports as in ACCEPT. What is settled is known as settled by its
# raised claim: repeating does nothing. What was held meanwhile stays held, unless it is gone. A report is queued, and
# nobody's yet, when one of the rows it tells of was settled just now. `places` has for each row where in the arrays its
# disposal is: to look for it in `d` would cost the square of the rows.
SETTLE_SOME = _statement(
    "settle_some",
    """
    with {me},
    t as (select * from {t}),
    d as (select *, row_number() over () as i from {d}),
    places as (
        select jsonb_object_agg(message || ' ' || n || ' ' || claim, i) as of_rows,
            array_agg(disposal = 'held' order by i) as held,
            array_agg(hold order by i) as hold,
            array_agg(disposal <> 'untried' and hold = 0 order by i) as tried,
            array_agg(disposal in ('again', 'untried') or hold <> 0 order by i) as later,
            array_agg(due order by i) as due,
            array_agg(noticed order by i) as noticed
        from d
    ), gone as (
        delete from message_queue q
        where q.message = any (array(select message from d)) and q.n = any (array(select n from d))
            and ((q.message, q.n, q.claim) in (select message, n, claim from d where disposal = 'gone')) is true
            and exists (select from me)
        returning q.message, q.n, q.claim
    ), kept as (
        update message_queue q set (claim, owner, status, hold, attempts, due, noticed) = (
            select q.claim + 1, null::int8,
                case when (select held from places)[its.i] or q.status = 'held' then 'held' else 'queued' end,
                coalesce(nullif((select hold from places)[its.i], 0), q.hold),
                least(q.attempts + (select tried from places)[its.i]::int, 32767),
                case when (select later from places)[its.i] then (select due from places)[its.i] else q.due end,
                q.noticed or (select noticed from places)[its.i]
            from (
                select ((select of_rows from places) ->> (q.message || ' ' || q.n || ' ' || q.claim))::int4 as i
                offset 0
            ) as its
        )
        where q.message = any (array(select message from d)) and q.n = any (array(select n from d))
            and ((q.message, q.n, q.claim) in (select message, n, claim from d where disposal <> 'gone')) is true
            and exists (select from me)
        returning q.message, q.n, q.claim - 1 as claim
    ), settled as (
        select distinct on (message, n, claim) d.s, n
        from d join (select * from gone union all select * from kept) as done using (message, n, claim)
    ),
    {noted},
    reports as (
        select u.report from {u} join settled on settled.s = u.s and settled.n = u.n
    ),
    {shared}
    select exists (select from me)
    """,
    shared=_INSERTING.format(
        condition="m.id in (select report from reports)", status="'queued'", claim="0", owner="null"
    ),
    t=SETTLEMENTS,
    d=DISPOSALS,
    u=SUBJECTS,
    m=MESSAGES,
    r=ROWS,
    e=EVENTS,
    k=KEYS,
    c=CHUNKS,
)

ALL_CONTENTS = (1 << 63) - 1
"""An id above that of every content: with it CLEAN keeps none."""

# $1 messages, $2 the id of a content that is kept as all from it on.
CLEAN = Statement(
    "clean",
    """
    with gone as (
        delete from messages m
        where m.id = any ($1::int8[])
            and (select true from message_queue q where q.message = m.id limit 1) is null
        returning m.id, m.content_id
    )
    delete from message_content c
    where c.content_id = any (array(select content_id from gone)) and c.content_id < $2::int8 and (
        select true from messages m
        where m.content_id = c.content_id and m.copies > 1 and m.id <> all (array(select id from gone)) limit 1
    ) is null
    """,
)

LANES = Records(organisation=INT8, destination=TEXT)

# Rows `taken` with their messages. Without any there still is a row, to say whether the node stands.
_TAKEN = """
    select me.stands, m.id, m.organisation, q.destination, m.reverse_path, m.content_id, m.size, m.received_at,
        m.recipients, m.copies, m.smtputf8, m.ret, m.envid, q.n, q.recipient, q.original, q.notify, q.orcpt,
        q.expanded, q.claim, q.attempts, q.expires_at, q.noticed
    from (select exists (select from me) as stands) me
    left join (
        taken q cross join lateral (select * from messages where id = q.message offset 0) as m
    ) on true
    order by m.id, q.destination, q.n
"""

# $1 owner, $2 now, $3 rows a lane, LANES. Rows are taken where they were locked: one that had just been changed stands
# somewhere else by then, and waits for the next claim.
CLAIM = _statement(
    "claim",
    """
    with {me},
    picked as (
        select due.place
        from {lane}
        cross join lateral (
            select q.ctid as place from message_queue q
            where q.status = 'queued' and q.organisation = lane.organisation
                and q.destination = lane.destination and q.due <= $2::timestamptz
            order by q.due limit $3::int8
            for update skip locked
        ) due
        where exists (select from me)
    ), taken as (
        update message_queue q set status = 'delivering', owner = $1, claim = q.claim + 1, hold = null,
            expires_at = q.expires_at + coalesce(({waited}), interval '0')
        where q.ctid = any (array(select place from picked))
        returning q.*
    )
    {shared}
    """,
    first=4,
    shared=_TAKEN,
    lane=LANES,
)

# $1 owner, $2 message, $3 n of its rows, none for all. What has an owner is being delivered at this moment; a report of
# what is quarantined might go to anybody.
SEIZE = _statement(
    "seize",
    """
    with {me},
    taken as (
        update message_queue q set status = 'delivering', owner = $1, claim = q.claim + 1, hold = null
        where q.message = $2::int8 and q.owner is null and q.status <> 'quarantined' and exists (select from me)
            and (cardinality($3::int8[]) = 0 or q.n = any ($3))
        returning q.*
    )
    {shared}
    """,
    shared=_TAKEN,
)

# $1 now, $2 limit of lanes found, $3 and $4 the lane to begin behind, $5 limit of lanes visited. One descent of the
# index a lane, however many rows it has, to the row that is due first. Returns lanes found, and the last one visited if
# there may be more behind.
READY = Statement(
    "ready",
    """
    with recursive lane (organisation, destination, due, visited, found) as (
        select $3::int8, $4::text, false, 0, 0
        union all
        select next.organisation, next.destination, next.due, lane.visited + 1, lane.found + next.due::int
        from lane cross join lateral (
            select q.organisation, q.destination, q.due <= $1::timestamptz as due
            from message_queue q
            where q.status = 'queued' and (q.organisation, q.destination) > (lane.organisation, lane.destination)
            order by q.organisation, q.destination, q.due limit 1
        ) next
        where lane.found < $2::int8 and lane.visited < $5::int8
    )
    select organisation, destination, due, found = $2 or visited = $5 as more
    from lane where due or visited = $5
    order by visited
    """,
)

KEPT_ROWS = Records(message=INT8, n=INT2, claim=INT4)

# $1 owner, $2 now, KEPT_ROWS.
RELEASE = _statement(
    "release",
    """
    with {me},
    r as (select * from {r}),
    freed as (
        update message_queue q set status = 'queued', owner = null, due = $2::timestamptz
        where q.message = any (array(select message from r)) and q.n = any (array(select n from r))
            and q.owner = $1 and ((q.message, q.n, q.claim) in (select message, n, claim from r)) is true
            and exists (select from me)
    )
    select exists (select from me)
    """,
    first=3,
    r=KEPT_ROWS,
)

# $1 owner.
OWNED = Statement("owned", "select message, n, claim from message_queue where owner = $1::int8 order by message, n")

# $1 content, $2 first chunk, $3 how many.
READ_CONTENT = Statement(
    "read_content",
    "select chunk from message_content where content_id = $1::int8 and n >= $2::int4 and n < $2 + $3::int4 order by n",
)

PREPARED = (
    ACCEPT, STORE_CHUNK, TAKE_BACK, END_SESSIONS, FORGET, SETTLE_WHOLE, LOCK_MESSAGES, SETTLE_SOME, CLEAN, CLAIM, SEIZE,
    READY, RELEASE, OWNED, READ_CONTENT,
)  # fmt: skip
