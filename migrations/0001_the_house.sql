-- Why: the first schema: tenants, the queue, membership of nodes, the timeline.
-- Locks: only on what it creates.
-- Oldest code that still runs: 1.

begin;
set local lock_timeout = '5s';

create table schema_version (
    version     integer primary key,
    oldest_code integer not null,              -- code below this version refuses the database
    applied_at  timestamptz not null default now()
);

-- Tenants -----------------------------------------------------------------------------------------------------------

create table organisations (
    id      bigint generated always as identity primary key,
    name    text not null unique check (name <> ''),
    contact text
);
comment on table organisations is 'Who the domains belong to; every row below carries its organisation.';
insert into organisations (name) values ('system');

create table domains (
    id           bigint generated always as identity primary key,
    organisation bigint not null references organisations,
    name         text not null unique check (name = lower(name) and octet_length(name) between 1 and 255),  -- A-label
    claimed_at   timestamptz not null default now(),
    verified_at  timestamptz,                   -- null: external to everyone (DESIGN D12)
    catch_all    text check (catch_all like '%_@_%'),       -- an address, or none
    delivery     text check (delivery ~ '^(maildir:|lmtp:.)'),  -- 'maildir:PATH', 'lmtp:ADDR'; null: the server's default
    unique (organisation, id)
);
create index on domains (organisation);

create table mailboxes (
    id            bigint generated always as identity primary key,
    organisation  bigint not null,
    domain        bigint not null,
    local_part    text not null check (local_part <> ''),  -- as the operator wrote it; names the Maildir
    folded        text not null check (octet_length(folded) <= 1000),  -- what is compared: NFC and casefold
    password_hash text,                                    -- argon2; null: nobody can log in
    enabled       boolean not null default true,
    foreign key (organisation, domain) references domains (organisation, id) on delete cascade,
    unique (domain, folded)
);
create index on mailboxes (organisation);

create table aliases (
    id           bigint generated always as identity primary key,
    organisation bigint not null,
    domain       bigint not null,
    local_part   text not null check (local_part <> ''),
    folded       text not null check (octet_length(folded) <= 1000),  -- a notification has room for 8000 octets
    targets      text[] not null check (cardinality(targets) between 1 and 1000),
    foreign key (organisation, domain) references domains (organisation, id) on delete cascade,
    unique (domain, folded)
);
create index on aliases (organisation);

-- Directory caches follow these (DESIGN §5): a statement notifies its keys, above 100 'all'. A key is
-- 'address:LOCAL@DOMAIN' or 'domain:NAME'; a domain's key drops what is known of all its addresses, and so also stands
-- for those that go with it. An update tells of what was and of what is, for a row that changed its name.
create function notify_directory(keys text[]) returns void language plpgsql as $$
begin
    if cardinality(keys) > 100 then
        perform pg_notify('mtad_directory', 'all');
    else
        perform pg_notify('mtad_directory', key) from unnest(keys) as key;
    end if;
end $$;

create function domains_changed() returns trigger language plpgsql as $$
begin
    perform notify_directory(array(select distinct 'domain:' || name from changed limit 101));
    return null;
end $$;

create function addresses_changed() returns trigger language plpgsql as $$
begin
    perform notify_directory(array(
        select distinct 'address:' || changed.folded || '@' || domains.name
        from changed join domains on domains.id = changed.domain limit 101));
    return null;
end $$;

create trigger inserted after insert on domains referencing new table as changed
    for each statement execute function domains_changed();
create trigger updated after update on domains referencing new table as changed
    for each statement execute function domains_changed();
create trigger replaced after update on domains referencing old table as changed
    for each statement execute function domains_changed();
create trigger deleted after delete on domains referencing old table as changed
    for each statement execute function domains_changed();
create trigger inserted after insert on mailboxes referencing new table as changed
    for each statement execute function addresses_changed();
create trigger updated after update on mailboxes referencing new table as changed
    for each statement execute function addresses_changed();
create trigger replaced after update on mailboxes referencing old table as changed
    for each statement execute function addresses_changed();
create trigger deleted after delete on mailboxes referencing old table as changed
    for each statement execute function addresses_changed();
create trigger inserted after insert on aliases referencing new table as changed
    for each statement execute function addresses_changed();
create trigger updated after update on aliases referencing new table as changed
    for each statement execute function addresses_changed();
create trigger replaced after update on aliases referencing old table as changed
    for each statement execute function addresses_changed();
create trigger deleted after delete on aliases referencing old table as changed
    for each statement execute function addresses_changed();

-- The queue ---------------------------------------------------------------------------------------------------------
-- No foreign keys here: the statements of adapters/postgres/queue.py keep the tables together, the sweeper what a
-- crash leaves behind, and a key would cost each message a trigger a row.

create table messages (
    id           bigint primary key,            -- DESIGN D6
    organisation bigint not null,
    direction    text not null,
    reverse_path text,                          -- null: the null reverse-path
    recipients   smallint not null,             -- at acceptance; never changes
    content_id   bigint not null,
    copies       smallint not null,             -- messages accepted with this content
    size         integer not null,              -- octets
    received_at  timestamptz not null
);
create index on messages (content_id) where copies > 1;

create table message_content (
    content_id bigint not null,
    n          integer not null,
    chunk      bytea not null,                  -- at most 256 KiB
    primary key (content_id, n)
);
alter table message_content alter column chunk set storage external;

create table message_queue (
    message      bigint not null,
    n            smallint not null,
    organisation bigint not null,
    destination  text not null,
    recipient    text not null,                 -- where it goes
    original     text,                          -- the forward-path as given; null: the same
    status       text not null check (status in ('queued', 'delivering', 'held', 'quarantined')),
    claim        integer not null,              -- the fence: raised by every claim and hand-over
    attempts     smallint not null default 0,   -- the schedule
    taken_over   smallint not null default 0,   -- how often the server ended while handling this
    due          timestamptz not null,
    expires_at   timestamptz not null,
    owner        bigint,
    hold         bigint,
    primary key (message, n)
) with (fillfactor = 80);
create index message_queue_due on message_queue (organisation, destination, due) where status = 'queued';
create index message_queue_owner on message_queue (owner) where owner is not null;

alter table messages set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0);
alter table message_queue set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0);
alter table message_content set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0, toast.autovacuum_vacuum_scale_factor = 0,
    toast.autovacuum_vacuum_threshold = 5000, toast.autovacuum_vacuum_cost_delay = 0);

-- Nodes -------------------------------------------------------------------------------------------------------------

create sequence node_owners;

create table node_slots (
    slot      smallint primary key check (slot between 0 and 4095),
    owner     bigint not null,                  -- its last holder
    last_beat timestamptz not null,             -- this database's clock; free an hour later
    last_id   bigint not null                   -- the next holder continues above
);
comment on table node_slots is 'A slot outlives its node: it may only be given again an hour after the last beat.';

create table nodes (
    owner      bigint primary key,              -- never used again
    name       text not null,
    slot       smallint not null unique references node_slots,
    beat       bigint not null default 0,
    stats      json not null default '{}',
    started_at timestamptz not null
) with (fillfactor = 50);

-- The timeline ------------------------------------------------------------------------------------------------------

create table message_events (
    at           timestamptz not null,
    message      bigint not null,
    organisation bigint not null,
    kinds        text[] not null,
    events       bytea not null                 -- JSON; what a peer said is data, so no json column
) partition by range (at);
create index on message_events (message);
alter table message_events alter column events set storage external;
create table message_events_default partition of message_events default;

create table message_keys (
    at           timestamptz not null,
    organisation bigint not null,
    key          bigint not null,               -- 64 bits of a hash of sender, recipient, Message-ID or peer
    message      bigint not null
) partition by range (at);
create index on message_keys (key, message);
create table message_keys_default partition of message_keys default;

insert into schema_version (version, oldest_code) values (1, 1);
commit;
