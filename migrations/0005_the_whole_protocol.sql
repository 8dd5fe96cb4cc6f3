-- Why: what SMTP's extensions ask for is kept with the message: SMTPUTF8 (RFC 6531) and delivery status notifications
-- (RFC 3461). Logins without the password on the wire (SCRAM, RFC 5802), and how much TLS mail has to have by where it
-- goes and whose it is. Older code runs beside this; it forgets what it does not know of.
-- Locks: messages, message_queue, mailboxes, organisations and domains in access exclusive mode, for a moment each.
-- Oldest code that still runs: 1.

begin;
set local lock_timeout = '5s';

alter table messages
    add smtputf8 boolean not null default false,
    add ret text check (ret in ('FULL', 'HDRS')),      -- null: nothing was said
    add envid text;                                     -- xtext, as it came
alter table message_queue
    add notify text,                                    -- 'NEVER', or some of SUCCESS, FAILURE and DELAY with commas
    add orcpt text,                                     -- 'rfc822;' and xtext, as it came
    add expanded boolean not null default false,        -- the first of several an alias led to; the sender wants to know
    add noticed boolean not null default false;         -- the sender was told that it is late

alter table mailboxes
    add scram text;                                     -- 'SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey' (RFC 5803)
alter table organisations
    add scram boolean not null default true;            -- whether its mailboxes may log in by SCRAM

alter table domains
    add outbound_tls text check (outbound_tls in ('encrypt', 'verify'));  -- of what is sent as it; null: as it goes

-- Whoever changes a password and knows nothing of verifiers, as older code does, must not leave the old one's behind.
create function verifier_goes_with_password() returns trigger language plpgsql as $$
begin
    new.scram := null;
    return new;
end $$;

create trigger password_changed before update of password_hash on mailboxes for each row
    when (old.scram is not null and new.scram = old.scram and new.password_hash is distinct from old.password_hash)
    execute function verifier_goes_with_password();

create table secrets (
    name  text primary key,
    value bytea not null check (octet_length(value) >= 32)
);
comment on table secrets is 'Random keys that all processes share. login: what is made up of it looks the same from all of them.';
insert into secrets (name, value)
    values ('login', decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'));

create table destinations (
    domain text primary key check (domain = lower(domain) and octet_length(domain) between 1 and 255),  -- A-label
    tls    text not null check (tls in ('none', 'may', 'encrypt', 'verify'))
);
comment on table destinations is 'What the operator wants of domains elsewhere, whoever sends to them.';

create function destinations_changed() returns trigger language plpgsql as $$
begin
    perform notify_directory(array(select distinct 'domain:' || domain from changed limit 101));
    return null;
end $$;

create trigger inserted after insert on destinations referencing new table as changed
    for each statement execute function destinations_changed();
create trigger updated after update on destinations referencing new table as changed
    for each statement execute function destinations_changed();
create trigger replaced after update on destinations referencing old table as changed
    for each statement execute function destinations_changed();
create trigger deleted after delete on destinations referencing old table as changed
    for each statement execute function destinations_changed();

insert into schema_version (version, oldest_code) values (5, 1);
commit;
