-- Why: the keys that domains sign their mail with.
-- Locks: domains against writers, for the moment in which the new table begins to refer to it.
-- Oldest code that still runs: 1.

begin;
set local lock_timeout = '5s';

create table dkim_keys (
    id           bigint generated always as identity primary key,
    organisation bigint not null,
    domain       bigint not null,
    selector     text not null check (octet_length(selector) between 1 and 63 and selector = lower(selector)),
    algorithm    text not null check (algorithm ~ '^(rsa[0-9]{4}|ed25519)$'),
    private_key  bytea not null check (octet_length(private_key) > 0),  -- PKCS #8 as PEM
    public_key   text not null check (public_key <> ''),                -- the p= of its record
    state        text not null check (state in ('active', 'retired')),
    created_at   timestamptz not null,
    retired_at   timestamptz,
    foreign key (organisation, domain) references domains (organisation, id) on delete cascade,
    unique (domain, selector),
    check ((state = 'retired') = (retired_at is not null))
);
create index on dkim_keys (organisation);
comment on table dkim_keys is
    'A selector names one key for ever: its record has to stay published after its last signature (DESIGN D9).';

-- Keys are remembered by their domain; those that go with it are told of as that domain.
create function dkim_keys_changed() returns trigger language plpgsql as $$
begin
    perform notify_directory(array(
        select distinct 'domain:' || domains.name
        from changed join domains on domains.id = changed.domain limit 101));
    return null;
end $$;

create trigger inserted after insert on dkim_keys referencing new table as changed
    for each statement execute function dkim_keys_changed();
create trigger updated after update on dkim_keys referencing new table as changed
    for each statement execute function dkim_keys_changed();
create trigger replaced after update on dkim_keys referencing old table as changed
    for each statement execute function dkim_keys_changed();
create trigger deleted after delete on dkim_keys referencing old table as changed
    for each statement execute function dkim_keys_changed();

insert into schema_version (version, oldest_code) values (4, 1);
commit;
