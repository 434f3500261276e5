package main

// What signals do to a running service. SIGTERM and SIGINT stop it (main.go). SIGHUP, which also comes when a terminal
// is lost, makes it read some settings again and never ends it, neither while it starts nor while it stops. SIGPIPE is
// nothing: a reader of the service's log that went away must not end the service, so writes fail with EPIPE instead.
// SIGUSR1 and SIGUSR2 do nothing (Go's runtime drops them), and SIGQUIT is a crash that prints all goroutines.

import (
	"log/slog"
	"os"
	"os/signal"
	"reflect"
	"sync"
	"syscall"
)

// catchHangUps catches SIGHUP and SIGPIPE from now on to the end of the process. Hang-ups that come while one is
// waiting to be handled are one with it.
func catchHangUps() <-chan os.Signal {
	hangUps := make(chan os.Signal, 1)
	signal.Notify(hangUps, syscall.SIGHUP)
	// Nobody reads this channel. That SIGPIPE is asked for at all makes a write to standard error fail with EPIPE, where
	// Go's runtime would otherwise end the process.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return hangUps
}

// reloader reads settings again. It is safe for concurrent use.
type reloader struct {
	log     *slog.Logger
	level   *slog.LevelVar
	started *config                 // the settings that the process was started with
	load    func() (*config, error) // reads the settings again

	mu    sync.Mutex
	files []reloadedFile // guarded by mu
}

// reloadedFile is a setting that names a file which a part has read.
type reloadedFile struct {
	setting string
	reload  func() error
}

// add has a part's file read again at each hang-up. When reload fails, the part must go on with what it has.
func (r *reloader) add(setting string, reload func() error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files = append(r.files, reloadedFile{setting, reload})
}

// watch reloads at each hang-up until stop is called. stop returns when no reload is under way.
func (r *reloader) watch(hangUps <-chan os.Signal) (stop func()) {
	stopping, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-hangUps:
				r.reload()
			case <-stopping:
				return
			}
		}
	}()
	return func() { close(stopping); <-done }
}

// reload reads what can change while the service runs: the level of the log, and the files of parts. What can't be read
// stays as it is. Files of --cert-dir are no part of it: they are looked at whenever they are needed.
func (r *reloader) reload() {
	var read, waiting []string // names of settings
	if next, err := r.load(); err != nil {
		r.log.Error("SIGHUP: the configuration can't be used, so that all settings stay as they are", "error", err)
	} else {
		level, _ := next.level() // load has checked it
		r.level.Set(level)
		read, waiting = append(read, "log-level"), changed(r.started, next)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.files {
		if err := f.reload(); err != nil {
			r.log.Error("SIGHUP: a file can't be read again, so that what was read before stays in use", "setting", f.setting, "error", err)
			continue
		}
		read = append(read, f.setting)
	}
	r.log.Info("SIGHUP: settings were read again; all others can't change without a restart",
		"read", read, "log_level", r.level.Level(), "needs_restart", waiting)
}

// changed names the settings that differ and can't change while the service runs.
func changed(before, after *config) (names []string) {
	old, now := reflect.ValueOf(before).Elem(), reflect.ValueOf(after).Elem()
	for i := range old.NumField() {
		name := old.Type().Field(i).Tag.Get("koanf")
		if name != "log-level" && !reflect.DeepEqual(old.Field(i).Interface(), now.Field(i).Interface()) {
			names = append(names, name)
		}
	}
	return names
}
