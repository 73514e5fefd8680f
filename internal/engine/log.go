// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"github.com/hashicorp/go-hclog"
)

// mountLogger says in each line which mount speaks: one process serves them all.
type mountLogger struct {
	hclog.Logger
	mount string
}

// log is the logger of this mount.
func (e *Engine) log() hclog.Logger { return e.logger.Load() }

// NameMount notes where the engine is mounted, which only requests tell.
func (e *Engine) NameMount(mount string) {
	if known := e.logger.Load(); known != nil && (mount == "" || known.mount == mount) {
		return
	}
	logger := e.deps.Logger.With("service_user_prefix", e.namePrefix())
	if mount != "" {
		logger = logger.With("mount", mount)
	}
	e.logger.Store(&mountLogger{Logger: logger, mount: mount})
}
