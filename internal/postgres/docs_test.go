package postgres_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/testdb"
)

// TestTablesOfTheDocs runs the SQL of docs/SUPABASE.md as it stands, as
// Supabase's postgres, and has two users and a stranger try it.
func TestTablesOfTheDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/SUPABASE.md")
	must(t, err)
	blocks := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllSubmatch(page, -1)
	if len(blocks) < 2 {
		t.Fatalf("docs/SUPABASE.md has %d blocks of SQL", len(blocks))
	}
	for _, grants := range []bool{false, true} {
		t.Run(fmt.Sprintf("automatic grants %v", grants), func(t *testing.T) {
			t.Parallel()
			db := testdb.Migrated(t, standin.Options{AutoGrants: grants, MedusaSchema: testdb.MedusaSchema})
			owner, pool := testdb.Pool(t, db, standin.Owner), testdb.Pool(t, db, "")
			for _, b := range blocks {
				exec(t, owner, string(b[1]))
			}
			exec(t, owner, `create function public.later() returns int language sql security definer set search_path = '' as 'select 1'`)
			for _, tt := range []struct {
				role, sub, sql, state string
				rows                  int64
			}{
				{"authenticated", "user_ada", `insert into public.notes (body) values ('mine')`, "", 1},
				{"authenticated", "user_ada", `select * from public.notes`, "", 1},
				{"authenticated", "user_ada", `update public.notes set body = 'changed'`, "", 1},
				{"authenticated", "user_eve", `select * from public.notes`, "", 0},
				{"authenticated", "user_eve", `update public.notes set body = 'stolen'`, "", 0},
				{"authenticated", "user_eve", `delete from public.notes`, "", 0},
				{"authenticated", "user_eve", `insert into public.notes (user_id, body) values ('user_ada', 'forged')`, denied, 0},
				{"authenticated", "user_eve", `update public.notes set user_id = 'user_eve'`, denied, 0},
				{"authenticated", "user_eve", `truncate public.notes`, denied, 0},
				{"anon", "user_ada", `select * from public.notes`, denied, 0},
				{"anon", "user_ada", `insert into public.notes (body) values ('x')`, denied, 0},
				{"service_role", "", `select * from public.notes where user_id = 'user_ada' and body = 'changed'`, "", 1},
				{"anon", "", `select public.later()`, denied, 0},
				{"authenticated", "user_ada", `select public.later()`, denied, 0},
				{"authenticated", "user_ada", `delete from public.notes`, "", 1},
			} {
				if rows, state := as(t, pool, tt.role, tt.sub, tt.sql); state != tt.state || state == "" && rows != tt.rows {
					t.Errorf("%s %q: %s: %d rows, %q; want %d, %q", tt.role, tt.sub, tt.sql, rows, state, tt.rows, tt.state)
				}
			}
			// The advisor looks at what refers to profiles: with the key, at notes.
			exec(t, pool, `alter table public.notes add foreign key (user_id) references public.profiles`)
			for rule, findings := range advise(t, pool) {
				if len(findings) > 0 {
					t.Errorf("%s: %+v", rule, findings)
				}
			}
			exec(t, pool, `alter policy notes_read_own on public.notes using (auth.jwt() ->> 'sub' = user_id); drop index public.notes_user_id`)
			broken := advise(t, pool)
			for _, rule := range []string{"0001_unindexed_foreign_keys", "0003_auth_rls_initplan"} {
				if len(broken[rule]) != 1 {
					t.Errorf("%s does not look at the page's table", rule)
				}
			}
		})
	}
	if !strings.Contains(string(page), "[auth.third_party.clerk]") {
		t.Error("the page does not show config.toml")
	}
}
