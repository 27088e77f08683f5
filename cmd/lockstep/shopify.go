package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/lockstephq/lockstep/app"
	"github.com/spf13/cobra"
)

func newShopify() *cobra.Command {
	c := &cobra.Command{
		Use:   "shopify",
		Short: "Connect Shopify shops, list them, disconnect one; answer for privacy",
		RunE: func(_ *cobra.Command, _ []string) error {
			return usageError{errors.New("type: lockstep shopify connect, list, disconnect or request")}
		},
	}
	c.AddCommand(newShopifyConnect(), newShopifyList(), newShopifyDisconnect(), newShopifyRequest())
	return c
}

func newShopifyConnect() *cobra.Command {
	var shop, url string
	c := &cobra.Command{
		Use:   "connect",
		Short: "Get shops ready, and have them send their webhooks here",
		Long: `Connect checks what the app may do and see in each shop, makes the metafield
definition that marks users' customers, and subscribes the webhooks. It may be
repeated: it adds what is missing, corrects addresses, and removes nothing.`,
		Args: exactly(0, "shopify connect [--shop acme.myshopify.com] --url https://lockstep.example.com"),
		RunE: func(c *cobra.Command, _ []string) error {
			return withApp(c, func(a *app.App) error {
				done, err := a.ConnectShops(c.Context(), shop, url)
				for _, d := range done {
					if d.Shop != "" {
						printConnected(c.OutOrStdout(), d)
					}
				}
				return err
			})
		},
	}
	c.Flags().StringVar(&shop, "shop", "", "this shop only; default all of the settings")
	c.Flags().StringVar(&url, "url", "", "where the internet reaches `lockstep serve`; default LOCKSTEP_PUBLIC_URL")
	return c
}

// withApp runs a command that needs the database.
func withApp(c *cobra.Command, do func(*app.App) error) error {
	a, err := open(c, app.NeedDatabase, quiet)
	if err != nil {
		return err
	}
	defer a.Close()
	return do(a)
}

func printConnected(w io.Writer, d app.Connected) {
	s := d.Subscribed
	fmt.Fprintf(w, "%s: connected; webhooks go to %s: %d subscribed, %d corrected, %d as they were\n",
		d.Shop, d.Endpoint, len(s.Added), len(s.Corrected), len(s.Kept))
	if len(s.Skipped) > 0 {
		fmt.Fprintf(w, "%s: not subscribed for lack of a scope: %s\n", d.Shop, strings.Join(s.Skipped, ", "))
	}
	for _, f := range d.Report.Findings {
		if f.Problem != "" && f.Check != "webhooks" {
			fmt.Fprintf(w, "%s: %s\n", d.Shop, f.Problem)
		}
	}
}

func newShopifyList() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "Show every shop: access, limits, webhooks, what is wrong",
		Args:  exactly(0, "shopify list [--json]"),
		RunE: func(c *cobra.Command, _ []string) error {
			return withApp(c, func(a *app.App) error {
				shops, err := a.Shops(c.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), map[string]any{"shops": shops})
				}
				return printShops(c.OutOrStdout(), shops)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// printShops prints a line per shop, and below what needs a person.
func printShops(w io.Writer, shops []app.ShopReport) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "shop\tstate\tplan\tpoints\ttoken\tapi\twebhooks\tlast webhook\tcustomers")
	for _, s := range shops {
		last := "-"
		if s.LastWebhook != nil {
			last = moment(*s.LastWebhook)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%.0f of %.0f, %.0f/s\t%s\t%s\t%d of %d\t%s\t%d\n", s.Shop, shopState(s), orDash(s.Live.Plan),
			s.Points, s.Capacity, s.Rate, s.Token, s.Live.Served, len(s.Live.Topics), len(s.Live.Topics)+len(s.Live.Missing), last, s.Customers)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, s := range shops {
		if s.PausedReason != "" {
			fmt.Fprintf(w, "\n%s: %s\n", s.Shop, s.PausedReason)
		}
		for _, f := range s.Live.Findings {
			if f.Problem != "" {
				fmt.Fprintf(w, "\n%s: %s: %s\n", s.Shop, f.Check, f.Problem)
			}
		}
	}
	return nil
}

func shopState(s app.ShopReport) string {
	switch {
	case s.DisconnectedAt != nil:
		return "disconnected"
	case s.PausedAt != nil:
		return "paused"
	case s.Endpoint == "":
		return "not connected"
	}
	return "connected"
}

func newShopifyDisconnect() *cobra.Command {
	var shop string
	var keep, drop bool
	c := &cobra.Command{
		Use:   "disconnect",
		Short: "End the work in a shop; its customers stay",
		Args:  exactly(0, "shopify disconnect --shop acme.myshopify.com [--keep-data|--drop-data]"),
		RunE: func(c *cobra.Command, _ []string) error {
			if shop == "" {
				return usageError{errors.New("which shop? Add --shop acme.myshopify.com")}
			}
			if keep && drop {
				return usageError{errors.New("--keep-data and --drop-data exclude each other")}
			}
			if !keep && !drop {
				var err error
				if drop, err = askToDrop(c, shop); err != nil {
					return err
				}
			}
			return withApp(c, func(a *app.App) error {
				done, err := a.DisconnectShop(c.Context(), shop, drop)
				if done.Shop != "" {
					printDisconnected(c.OutOrStdout(), done)
				}
				return err
			})
		},
	}
	c.Flags().StringVar(&shop, "shop", "", "the shop, such as acme.myshopify.com")
	c.Flags().BoolVar(&keep, "keep-data", false, "keep the links and captured customers, for when it is connected again")
	c.Flags().BoolVar(&drop, "drop-data", false, "erase the links and captured customers")
	return c
}

// askToDrop asks a person; a script must say it with a flag.
func askToDrop(c *cobra.Command, shop string) (drop bool, err error) {
	in, isFile := c.InOrStdin().(*os.File)
	if !isFile || !isTerminal(in) {
		return false, usageError{errors.New("what of the links and captured customers? Add --keep-data or --drop-data")}
	}
	fmt.Fprintf(c.ErrOrStderr(), "Erase the links and captured customers of %s? They cannot be brought back. Type drop or keep: ", shop)
	line, err := bufio.NewReader(in).ReadString('\n')
	switch strings.TrimSpace(line) {
	case "drop":
		return true, nil
	case "keep":
		return false, nil
	}
	return false, errors.Join(errors.New("nothing was done: type drop or keep"), err)
}

func printDisconnected(w io.Writer, d app.Disconnected) {
	fmt.Fprintf(w, "%s: disconnected; %d webhook subscriptions ended\n", d.Shop, d.Unsubscribed)
	if d.Erased == nil {
		fmt.Fprintf(w, "%s: links and captured customers are kept\n", d.Shop)
	} else {
		fmt.Fprintf(w, "%s: erased %d links and %d captured customers\n", d.Shop, d.Erased["customer_links"], d.Erased["shopify_customers"])
	}
	fmt.Fprintf(w, "Now take %s out of the settings, or users go on waiting for it.\n", d.Shop)
}
