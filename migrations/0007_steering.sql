-- Why: operators steer the queue: holds keep mail back, drained nodes take none, and who did what is on record.
-- Locks: nodes in access exclusive mode for a moment.
-- Oldest code that still runs: 6.

begin;
set local lock_timeout = '5s';

create table holds (
    id           bigint generated always as identity primary key,
    scope        text not null check (scope in ('organisation', 'domain', 'sender', 'recipient-domain', 'message')),
    organisation bigint references organisations on delete cascade,  -- whose mail; null: everybody's
    what         text not null check (octet_length(what) between 1 and 320),  -- a name, an address, or a message id
    reason       text not null,
    held_by      text not null,
    created_at   timestamptz not null,
    expires_at   timestamptz,                       -- null: until somebody releases it
    released_at  timestamptz,                       -- its rows are being freed; it holds nothing any more
    released_by  text,                              -- who or what ended it
    check ((released_at is null) = (released_by is null))
);
comment on table holds is 'Mail that is kept back: a row that meets a hold when it is handed over or claimed becomes held.';

create function holds_changed() returns trigger language plpgsql as $$
begin
    perform pg_notify('mtad_holds', '');
    return null;
end $$;
create trigger changed after insert or update or delete on holds
    for each statement execute function holds_changed();

-- Of a row that a hold keeps `due` is since when it is kept.
create index message_queue_hold on message_queue (hold) where hold is not null;

alter table nodes
    add draining boolean not null default false;    -- takes no new work, and gives its rows back

create table audit (
    id      bigint generated always as identity primary key,
    at      timestamptz not null,
    who     text not null,                          -- the person, as the operating system knows them
    command text not null,                          -- what was run
    what    text not null,                          -- what it was done to: a filter, an id, a name
    count   bigint not null                         -- how much it changed
);
create index on audit (at);
comment on table audit is 'What people did with mtactl. Never a secret, never content.';

insert into schema_version (version, oldest_code) values (7, 6);
commit;
