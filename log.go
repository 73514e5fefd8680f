// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import "github.com/hashicorp/go-hclog"

// mountLogger says in each line which mount speaks: one process serves them all.
type mountLogger struct {
	hclog.Logger
	mount string
}

// log is the logger of this mount.
func (b *backend) log() hclog.Logger { return b.logger.Load() }

// nameMount notes where the engine is mounted, which only requests tell.
func (b *backend) nameMount(mount string) {
	if known := b.logger.Load(); known != nil && (mount == "" || known.mount == mount) {
		return
	}
	logger := b.Logger().With("service_user_prefix", b.namePrefix())
	if mount != "" {
		logger = logger.With("mount", mount)
	}
	b.logger.Store(&mountLogger{Logger: logger, mount: mount})
}
