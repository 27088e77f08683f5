package postgres

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// The rules of Supabase's Security and Performance Advisor (github.com/supabase/splinter,
// by its numbers and names) that can concern Lockstep, as queries of our own:
// they look at schema lockstep, at public.profiles, and at what is built on it.
// Each file begins with the rule's level and what is wrong; its rows are the
// objects at fault and what to type. scope.sql says what is looked at.
//
//go:embed advisor/*.sql
var advisorFiles embed.FS

// AdvisorRule is one rule, and the objects that break it.
type AdvisorRule struct {
	Name     string // "0013_rls_disabled_in_public"
	Level    string // as the advisor has it: "error", "warn" or "info"
	About    string // what is wrong
	Findings []AdvisorFinding
}

// AdvisorFinding is an object that breaks a rule.
type AdvisorFinding struct {
	Object string
	Fix    string // what to type
}

// Advise applies the advisor's rules, in the order of their numbers.
func Advise(ctx context.Context, pool *pgxpool.Pool) (rules []AdvisorRule, err error) {
	scope, err := fs.ReadFile(advisorFiles, "advisor/scope.sql")
	if err != nil {
		return nil, fmt.Errorf("read the advisor's scope: %w", err)
	}
	files, err := fs.Glob(advisorFiles, "advisor/0*.sql")
	if err != nil {
		return nil, fmt.Errorf("list the advisor's rules: %w", err)
	}
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		// Names are printed with their schema, which the rules and readers want.
		if _, err := tx.Exec(ctx, `set local search_path = pg_catalog`); err != nil {
			return Redact(err)
		}
		for _, file := range files {
			rule, err := readRule(file)
			if err != nil {
				return err
			}
			if err := rule.apply(ctx, tx, string(scope)); err != nil {
				return fmt.Errorf("advisor's rule %s: %w", rule.Name, Redact(err))
			}
			rules = append(rules, rule.AdvisorRule)
		}
		return nil
	})
	return rules, err
}

type ruleFile struct {
	AdvisorRule
	sql string
}

func readRule(file string) (r ruleFile, err error) {
	data, err := fs.ReadFile(advisorFiles, file)
	if err != nil {
		return r, fmt.Errorf("read the advisor's rule: %w", err)
	}
	r.sql = string(data)
	r.Name = strings.TrimSuffix(strings.TrimPrefix(file, "advisor/"), ".sql")
	first, _, _ := strings.Cut(r.sql, "\n")
	r.Level, r.About, _ = strings.Cut(strings.TrimPrefix(first, "-- "), ": ")
	return r, nil
}

func (r *ruleFile) apply(ctx context.Context, tx pgx.Tx, scope string) error {
	rows, err := tx.Query(ctx, scope+r.sql)
	if err != nil {
		return err
	}
	r.Findings, err = pgx.CollectRows(rows, pgx.RowToStructByPos[AdvisorFinding])
	return err
}
