-- Why: who mail is from. Domains say how strictly SPF, DKIM and DMARC are kept for them, and prove whose they are; keys
-- have a life of several states and may be sealed with a master key; what the DNS says of a domain is remembered. What
-- is quarantined is found by its age.
-- Locks: domains and dkim_keys in access exclusive mode while the keys' rows are rewritten; message_queue against writers
-- while its rows are read once.
-- Oldest code that still runs: 6.

begin;
set local lock_timeout = '5s';

alter table domains
    add spf        text check (spf in ('off', 'monitor', 'enforce')),      -- null: the server's
    add dkim       text check (dkim in ('off', 'monitor', 'enforce')),
    add dmarc      text check (dmarc in ('off', 'monitor', 'enforce')),
    add check_from boolean not null default true,   -- whether its mailboxes may write only as who they may send as
    add challenge  text not null default gen_random_uuid()::text;  -- what a TXT record has to say to prove ownership

-- generated: its record was not seen yet; published: seen; active: signs; retiring: signs no more, its record is still
-- needed; revoked: nobody needs its record.
alter table dkim_keys
    drop constraint dkim_keys_state_check,
    drop constraint dkim_keys_check;
alter table dkim_keys rename retired_at to retiring_at;
update dkim_keys set state = 'retiring' where state = 'retired';
alter table dkim_keys
    add published_at timestamptz,                   -- null although it signs: the operator's word
    add active_at    timestamptz,
    add revoked_at   timestamptz,
    add sealed_with  text,                          -- the master key's id; null: private_key is in clear
    alter column private_key drop not null,         -- gone with the state revoked
    add check (private_key is not null or state = 'revoked'),
    add constraint dkim_keys_state_check
        check (state in ('generated', 'published', 'active', 'retiring', 'revoked'));
update dkim_keys set active_at = created_at where state in ('active', 'retiring');
create index on dkim_keys (retiring_at) where state = 'retiring';

create table domain_checks (
    domain        bigint not null references domains on delete cascade,
    subject       text not null check (subject in ('ownership', 'mx', 'spf', 'dkim', 'dmarc')),
    status        text not null check (status in ('good', 'bad', 'unknown')),
    detail        text not null,                    -- what was seen, or why it is not good; fit to be shown
    since         timestamptz not null,             -- of the status
    checked_at    timestamptz not null,
    failures      integer not null default 0,       -- in a row; resolver faults are none
    failing_since timestamptz,
    primary key (domain, subject)
);
comment on table domain_checks is 'What the DNS says of hosted domains: bad only after three failures over an hour.';

create table domain_care (
    domain bigint primary key references domains on delete cascade,
    due    timestamptz not null                     -- when somebody looks at it; who does so puts it off first
);
create index on domain_care (due);
comment on table domain_care is 'Whose turn it is to be looked at; apart from domains, whose every change is news.';
insert into domain_care (domain, due) select id, now() + random() * interval '6 hours' from domains;

create function domains_cared_for() returns trigger language plpgsql as $$
begin
    insert into domain_care (domain, due) select id, claimed_at from added;
    return null;
end $$;
create trigger cared_for after insert on domains referencing new table as added
    for each statement execute function domains_cared_for();

-- Of a quarantined row `due` is since when it is kept.
create index message_queue_quarantined on message_queue (due) where status = 'quarantined';

insert into schema_version (version, oldest_code) values (6, 6);
commit;
