"""The schema brought up to date, and databases that are not for this code."""

import json
import re
import subprocess
import sys
from contextlib import closing

import psycopg2
from psycopg2.extensions import make_dsn
from twisted.trial.unittest import SynchronousTestCase

from mtad.adapters.postgres import migrate
from mtad.model.errors import InvalidInput, Unavailable
from tests.stores import database

SHIPPED = [migration.number for migration in migrate.shipped()]
CODE = SHIPPED[-1]
MIGRATE = (
    "import json, sys; from mtad.adapters.postgres.migrate import migrate; print(migrate(json.loads(sys.argv[1])))"
)


class MigrateTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.parameters = database()

    def run_sql(self, *statements: str) -> list[tuple[object, ...]]:
        with closing(psycopg2.connect(make_dsn(**self.parameters))) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def empty(self) -> None:
        self.run_sql("drop schema public cascade", "create schema public")

    def test_files_are_numbered_without_gaps_and_record_themselves(self) -> None:
        self.assertEqual(SHIPPED, list(range(1, CODE + 1)))
        for migration in migrate.shipped():
            self.assertRegex(migration.sql, r"^-- Why: ")
            self.assertRegex(migration.sql, r"(?m)^-- Locks: ")
            self.assertRegex(migration.sql, r"(?m)^-- Oldest code that still runs: \d+\.$")
            self.assertRegex(migration.sql, r"(?m)^begin;\n(.*\n)*?set local lock_timeout = ")
            oldest = re.search(r"still runs: (\d+)", migration.sql)[1]
            recorded = rf"insert into schema_version \(version, oldest_code\) values \({migration.number}, {oldest}\);"
            self.assertRegex(migration.sql, rf"{recorded}\ncommit;\n$")

    def test_an_empty_database_gets_all_of_them_once(self) -> None:
        self.empty()
        self.assertEqual(migrate.migrate(self.parameters), SHIPPED)
        self.assertEqual(migrate.migrate(self.parameters), [])
        self.assertEqual(self.run_sql("select version from schema_version order by version"), [(n,) for n in SHIPPED])

    def test_many_processes_may_migrate_at_once(self) -> None:
        self.empty()
        parameters = json.dumps(self.parameters)
        command = [sys.executable, "-c", MIGRATE, parameters]
        started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        outputs = [process.communicate(timeout=30)[0].strip() for process in started]
        self.assertEqual(sorted(outputs), sorted([str(SHIPPED), "[]", "[]"]))

    def test_the_check_names_what_is_missing_and_changes_nothing(self) -> None:
        migrate.check(self.parameters)
        self.empty()
        for _ in range(2):
            with self.assertRaisesRegex(
                InvalidInput, r"^database: its schema lacks 0001_the_house\.sql.*mtactl migrate"
            ):
                migrate.check(self.parameters)

    def test_a_database_that_needs_newer_code_is_refused_with_both_numbers(self) -> None:
        self.run_sql("insert into schema_version (version, oldest_code) values (9001, 9000)")
        for refuse in (migrate.migrate, migrate.check):
            with self.assertRaisesRegex(InvalidInput, rf"9000.*{CODE}$"):
                refuse(self.parameters)

    def test_a_newer_database_that_still_takes_this_code_is_left_alone(self) -> None:
        self.run_sql(f"insert into schema_version (version, oldest_code) values (9001, {CODE})")
        self.assertEqual(migrate.migrate(self.parameters), [])
        migrate.check(self.parameters)

    def test_a_migration_that_fails_leaves_nothing(self) -> None:
        self.empty()
        self.run_sql("create table nodes (in_the_way text)")
        with self.assertRaisesRegex(Unavailable, r"^postgres: migration 0001_the_house\.sql failed: .*nodes") as caught:
            migrate.migrate(self.parameters)
        self.assertNotIn("\n", str(caught.exception))
        tables = self.run_sql("select tablename from pg_tables where schemaname = 'public'")
        self.assertEqual(tables, [("nodes",)])

    def test_a_database_of_another_encoding_is_refused(self) -> None:
        name = self.parameters["dbname"] + "_ascii"
        self.run_sql(f"create database {name} encoding 'SQL_ASCII' template template0 lc_collate 'C' lc_ctype 'C'")
        self.addCleanup(self.run_sql, f"drop database {name}")
        with self.assertRaisesRegex(InvalidInput, "database: its encoding is SQL_ASCII, expected UTF8"):
            migrate.migrate({**self.parameters, "dbname": name})

    def test_a_database_out_of_reach_is_said_in_one_line(self) -> None:
        for wrong in ({"host": "/nowhere"}, {"dbname": "mtad_no_such_database"}):
            for call in (migrate.migrate, migrate.check):
                with self.assertRaises(Unavailable) as caught:
                    call({**self.parameters, **wrong})
                self.assertNotIn("\n", str(caught.exception))
                self.assertIn(next(iter(wrong.values())), str(caught.exception))
