package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed recipe
var recipe embed.FS

// storefront is what a user's Medusa needs of ours, relative to the root.
const storefront = "examples/medusa"

// install returns a directory that holds the recipe's node_modules, and npm's
// work is done once per lock file: about 90 seconds and 700 MB.
func install(ctx context.Context, say func(string)) (modules string, err error) {
	lock, err := recipe.ReadFile("recipe/package-lock.json")
	if err != nil {
		return "", err
	}
	home, err := cache()
	if err != nil {
		return "", err
	}
	place := filepath.Join(home, fmt.Sprintf("medusa-%x", sha256.Sum256(lock))[:23])
	modules = filepath.Join(place, "node_modules")
	if _, err := os.Stat(modules); err == nil {
		return modules, nil
	}
	say("npm install, into " + place)
	// Installed beside, and moved when it is whole: a run that was killed, or
	// another one at the same time, leaves nothing half done.
	draft, err := os.MkdirTemp(home, "draft-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(draft)) }()
	if err := lay(draft, recipe, "recipe"); err != nil {
		return "", err
	}
	// No package needs its install script. NODE_ENV=production would leave out
	// what runs TypeScript.
	cmd := exec.CommandContext(ctx, "npm", "install", "--include=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir = draft
	if err := logged(cmd); err != nil {
		return "", err
	}
	if err := os.Rename(draft, place); err != nil {
		if _, there := os.Stat(modules); there != nil {
			return "", err
		} // another run was faster
	}
	return modules, nil
}

// cache is the user's, or, where there is no user to speak of, a temporary one.
func cache() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		base = os.TempDir()
	}
	home := filepath.Join(base, "lockstep")
	return home, os.MkdirAll(home, 0o700)
}

// lay copies a tree into dir.
func lay(dir string, from fs.FS, root string) error {
	tree, err := fs.Sub(from, root)
	if err != nil {
		return err
	}
	return fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		to := filepath.Join(dir, filepath.FromSlash(name))
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.MkdirAll(to, 0o700)
		}
		data, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		return os.WriteFile(to, data, 0o600)
	})
}

// logged runs a command; its error carries the end of what it said.
func logged(cmd *exec.Cmd) error {
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, tail(said.Bytes()))
	}
	return nil
}

func tail(text []byte) string {
	const most = 4000
	return strings.ToValidUTF8(string(text[max(0, len(text)-most):]), "")
}
