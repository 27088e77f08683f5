package localpg

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// longestSocket is the most bytes a socket's path may have on every system
// supported: macOS allows 104 with the final zero, Linux 108.
const longestSocket = 103

// serverAccount is whom the server runs as: nil for ourselves, but PostgreSQL
// refuses root, so root steps down to "postgres", or to "nobody".
func serverAccount() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		if account, err := user.Lookup(name); err == nil {
			return credential(account)
		}
	}
	return nil, errors.New("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody: run as another user")
}

func credential(account *user.User) (*syscall.Credential, error) {
	// Signed, since macOS gives nobody the number -2.
	uid, err := strconv.ParseInt(account.Uid, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", account.Username, err)
	}
	gid, err := strconv.ParseInt(account.Gid, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", account.Username, err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// place chooses where the cluster's directory will be. It makes nothing.
// anyone says that an account other than ours has to make it.
func place(name string, anyone bool) (string, error) {
	for _, base := range []string{os.TempDir(), "/tmp"} {
		dir, err := filepath.Abs(filepath.Join(base, name))
		if err != nil || len(dir)+len("/.s.PGSQL."+port) > longestSocket {
			continue
		}
		if !anyone || openToAll(filepath.Dir(dir)) {
			return dir, nil
		}
	}
	return "", errors.New("no place for a private PostgreSQL: set TMPDIR to a directory with a short name that every user may write to, such as /tmp")
}

// openToAll tells whether every account may make files in dir.
func openToAll(dir string) bool {
	const search, write = 0o001, 0o002
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil || !permits(dir, write) {
		return false
	}
	for ; permits(dir, search); dir = filepath.Dir(dir) {
		if dir == filepath.Dir(dir) {
			return true
		}
	}
	return false
}

func permits(dir string, bits os.FileMode) bool {
	info, err := os.Stat(dir)
	return err == nil && info.Mode().Perm()&bits == bits
}
