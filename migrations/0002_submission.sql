-- Why: who may send as whom: permissions of mailboxes beyond their own address, and the aliases that lead to one.
-- Locks: aliases in access exclusive mode while its rows are rewritten; mailboxes and organisations against writers.
-- Oldest code that still runs: 1.

begin;
set local lock_timeout = '5s';

create table user_domain_permissions (
    id           bigint generated always as identity primary key,
    organisation bigint not null references organisations,
    mailbox      bigint not null references mailboxes on delete cascade,
    what         text not null check (octet_length(what) between 1 and 320),  -- 'shop.example' or '*@shop.example'
    unique (mailbox, what)
);
create index on user_domain_permissions (organisation);
comment on table user_domain_permissions is
    'A mailbox may send as this domain, or as addresses of this pattern; only verified domains of its own organisation count.';

-- Targets as addresses are compared: NFC and casefold of the local part (DESIGN §5). The code writes them; what was
-- there before is folded as far as SQL can, which is ASCII and NFC: other letters are right from the next change on.
alter table aliases add column target_keys text[] not null default '{}';
update aliases set target_keys =
    array(select lower(normalize(target, nfc)) from unnest(targets) with ordinality as led (target, n) order by n);
create index aliases_target_keys on aliases using gin (target_keys);

-- What a mailbox may send as is remembered by its own address, so news of a permission or of an alias is told of the
-- mailboxes it concerns. A mailbox that goes with its permissions is news itself.
create function permissions_changed() returns trigger language plpgsql as $$
begin
    perform notify_directory(array(
        select distinct 'address:' || mailboxes.folded || '@' || domains.name
        from changed join mailboxes on mailboxes.id = changed.mailbox
        join domains on domains.id = mailboxes.domain limit 101));
    return null;
end $$;

create function alias_targets_changed() returns trigger language plpgsql as $$
begin
    perform notify_directory(array(
        select distinct 'address:' || target from changed, unnest(changed.target_keys) as target limit 101));
    return null;
end $$;

create trigger inserted after insert on user_domain_permissions referencing new table as changed
    for each statement execute function permissions_changed();
create trigger updated after update on user_domain_permissions referencing new table as changed
    for each statement execute function permissions_changed();
create trigger replaced after update on user_domain_permissions referencing old table as changed
    for each statement execute function permissions_changed();
create trigger deleted after delete on user_domain_permissions referencing old table as changed
    for each statement execute function permissions_changed();
create trigger targets_inserted after insert on aliases referencing new table as changed
    for each statement execute function alias_targets_changed();
create trigger targets_updated after update on aliases referencing new table as changed
    for each statement execute function alias_targets_changed();
create trigger targets_replaced after update on aliases referencing old table as changed
    for each statement execute function alias_targets_changed();
create trigger targets_deleted after delete on aliases referencing old table as changed
    for each statement execute function alias_targets_changed();

insert into schema_version (version, oldest_code) values (2, 1);
commit;
