package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/spf13/cobra"
)

func newEmulate() *cobra.Command {
	var o emulated
	c := &cobra.Command{
		Use:   "emulate",
		Short: "Run an emulated Clerk, a shop and Medusa, for development",
		Long: `Emulate runs a Clerk on this machine: users, tokens and signed webhooks; with
--shop a Shopify shop as well, with --medusa Medusa's Admin API. It prints the settings (KEY=VALUE) that point
serve at them, then runs until it is stopped. docs/EMULATORS.md describes how to
make and change users and customers there.`,
		Args: exactly(0, "emulate [--addr 127.0.0.1:9400] [--webhooks URL] [--shop NAME] [--medusa]"),
		RunE: func(c *cobra.Command, _ []string) error {
			return emulate(c.Context(), c, o)
		},
	}
	c.Flags().StringVar(&o.addr, "addr", "127.0.0.1:9400", "listen address")
	c.Flags().StringVar(&o.webhooks, "webhooks", "http://127.0.0.1:8080/webhooks/clerk", "where serve takes webhooks")
	c.Flags().StringVar(&o.shop, "shop", "", "name of a Shopify shop to emulate, such as acme")
	c.Flags().BoolVar(&o.medusa, "medusa", false, "emulate Medusa's Admin API")
	return c
}

// emulated says what to emulate, and where.
type emulated struct {
	addr, webhooks, shop string
	medusa               bool
}

func emulate(ctx context.Context, c *cobra.Command, o emulated) error {
	clerk, err := emulator.NewClerk(emulator.ClerkOptions{WebhookURL: o.webhooks})
	if err != nil {
		return err
	}
	defer clerk.Close()
	var shops []emulator.ShopSpec
	if o.shop != "" {
		shops = append(shops, emulator.ShopSpec{Domain: o.shop})
	}
	shopify, err := emulator.NewShopify(emulator.ShopifyOptions{Shops: shops})
	if err != nil {
		return usageError{err}
	}
	defer shopify.Close()
	mux := http.NewServeMux()
	mux.Handle("/", clerk)
	mux.Handle("/_control/shopify/", shopify)
	mux.Handle("/{shop}/admin/", shopify)
	mux.Handle("/{shop}/storage/", shopify)
	medusa := emulator.NewMedusa(emulator.MedusaOptions{})
	for _, path := range []string{"/admin/customers", "/admin/customers/", "/auth/user/", "/auth/token/", "/_control/medusa/"} {
		mux.Handle(path, medusa)
	}
	url, stop, err := serveEmulator(ctx, mux, o.addr)
	if err != nil {
		return fmt.Errorf("%w: choose another --addr", err)
	}
	defer stop()
	clerk.SetBaseURL(url)
	shopify.SetBaseURL(url)
	medusa.SetBaseURL(url)
	settings := clerk.Settings()
	if o.shop != "" {
		settings = append(settings, shopify.Settings()...)
	}
	if o.medusa {
		settings = append(settings, medusa.Settings()...)
	}
	for _, s := range settings {
		fmt.Fprintln(c.OutOrStdout(), s)
	}
	fmt.Fprintf(c.ErrOrStderr(), "Clerk's emulator runs at %s until you stop it. Webhooks go to %s.\n", url, o.webhooks)
	<-ctx.Done()
	return nil
}

// serveEmulator serves an emulator and returns its address.
func serveEmulator(ctx context.Context, service http.Handler, addr string) (url string, stop func(), err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return "", nil, err
	}
	url = "http://" + listener.Addr().String()
	server := &http.Server{Handler: service, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // ends with stop
	return url, func() { _ = server.Close() }, nil
}
