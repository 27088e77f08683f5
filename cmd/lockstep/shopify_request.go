package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/lockstephq/lockstep/app"
	"github.com/spf13/cobra"
)

func newShopifyRequest() *cobra.Command {
	var before int64
	c := &cobra.Command{
		Use:   "request [ID]",
		Short: "List what customers' privacy asked for, or print one with its report",
		Long: `Request lists what Shopify passed on of privacy law: reports on a customer, and
the erasure of a customer or of a whole shop, with what was done and when. With
an ID it prints that one as JSON: a report is for the merchant to hand over.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{errors.New("type: lockstep shopify request [ID]")}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return withApp(c, func(a *app.App) error {
				if len(args) == 0 {
					list, err := a.PrivacyRequests(c.Context(), before)
					if err != nil {
						return err
					}
					return printRequests(c.OutOrStdout(), list)
				}
				return printRequest(c, a, args[0])
			})
		},
	}
	c.Flags().Int64Var(&before, "before", 0, "list those with a lower number than this")
	return c
}

func printRequest(c *cobra.Command, a *app.App, text string) error {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return usageError{fmt.Errorf("%q is no number: type lockstep shopify request for the list", text)}
	}
	r, err := a.PrivacyRequest(c.Context(), id)
	if errors.Is(err, app.ErrNoRequest) {
		return fmt.Errorf("%d: %w: type lockstep shopify request for the list", id, err)
	}
	if err != nil {
		return err
	}
	return printJSON(c.OutOrStdout(), r)
}

func printRequests(w io.Writer, list []app.PrivacyRequest) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "Nothing was asked for.")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "id\twhat\ttarget\tcustomer\treceived\tdone")
	for _, r := range list {
		done := "due " + r.Due.UTC().Format(time.DateOnly)
		if r.Done != nil {
			done = moment(*r.Done)
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.Kind, r.Target, orDash(r.CustomerID), moment(r.Received), done)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(list) == app.PrivacyPage {
		_, err := fmt.Fprintf(w, "There may be more: type lockstep shopify request --before %d\n", list[len(list)-1].ID)
		return err
	}
	return nil
}
