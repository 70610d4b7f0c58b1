// Package inbox is the door for those who can do no more than put a file into a folder: each source of the catalogue with the door
// "folder" has one, named by its code. A file that lies there whole is taken once as a list of that source. Taken, it goes, for it lies sealed
// in the database, and its load protocol comes under taken; refused, it comes back under refused with the reason. What is taken is approved
// by the source's profile, or waits for a person. Who may write into the folder is left to the file system.
package inbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"ekc/catalog"
	"ekc/citizen"
	"ekc/ingest"
	"ekc/journal"
	"ekc/postgres"
)

// Config is what an Inbox is made of. Zero durations take the defaults.
type Config struct {
	Dir     string // has a folder for each source; made when the first source wants one
	DB      *pgxpool.Pool
	Catalog func() *catalog.Catalog
	Lists   *ingest.Service
	Now     func() time.Time
	Log     *slog.Logger
	Settle  time.Duration // a file is whole when nothing of it has changed for so long; 5 s
	Poll    time.Duration // 1 s
}

// Inbox watches the folders. Any number of processes may watch the same ones.
type Inbox struct {
	cfg  Config
	seen map[string]sight // by source and name
}

// sight is how a file looked, and since when it has.
type sight struct {
	size     int64
	modified time.Time
	since    time.Time
}

// New returns an Inbox; Run does its work.
func New(c Config) *Inbox {
	if c.Settle == 0 {
		c.Settle = 5 * time.Second
	}
	if c.Poll == 0 {
		c.Poll = time.Second
	}
	return &Inbox{cfg: c, seen: make(map[string]sight)}
}

// What a folder has: files to be taken, and of ours the three below.
const (
	taking  = ".taking" // a file on its way, the id of its list before its name
	taken   = "taken"
	asked   = ".new" // after the id of a list that is not known to be stored
	refused = "refused"

	entriesAtOnce = 1000
	longestName   = 150 // octets; ours are put around it
)

// Run watches until ctx ends.
func (b *Inbox) Run(ctx context.Context) error {
	tick := time.NewTicker(b.cfg.Poll)
	defer tick.Stop()
	var backoff postgres.Backoff
	for {
		if err := b.look(ctx); err == nil {
			backoff.Reset()
		} else if ctx.Err() == nil {
			b.cfg.Log.Warn("a watched folder could not be looked into, it will be repeated", "err", err)
			_ = backoff.Wait(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look looks into every folder once; what is wrong with one stops no other.
func (b *Inbox) look(ctx context.Context) error {
	var all error
	for _, s := range b.cfg.Catalog().Sources(b.cfg.Now()) {
		if s.Door == catalog.DoorFolder {
			if err := b.watch(ctx, s); err != nil {
				all = errors.Join(all, fmt.Errorf("folder of source %s: %w", s.Code, err))
			}
		}
	}
	return all
}

const (
	lockSQL   = `SELECT pg_try_advisory_lock(hashtextextended('ekc/inbox/' || $1::text, 0))`
	unlockSQL = `SELECT pg_advisory_unlock(hashtextextended('ekc/inbox/' || $1::text, 0))`
)

// watch looks into one folder, unless another process is at it. The lock is the session's: it goes when the process dies.
func (b *Inbox) watch(ctx context.Context, s *catalog.Source) error {
	conn, err := b.cfg.DB.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	defer conn.Release()
	var mine bool
	if err := conn.QueryRow(ctx, lockSQL, s.Code).Scan(&mine); err != nil || !mine {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if _, err := conn.Exec(ctx, unlockSQL, s.Code); err != nil {
			_ = conn.Conn().Close(ctx)
		}
	}()
	dir := filepath.Join(b.cfg.Dir, s.Code)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return reason(err)
	}
	root, err := os.OpenRoot(dir) // nothing beside the folder is reached, whatever links lie in it
	if err != nil {
		return reason(err)
	}
	defer root.Close()
	for _, own := range []string{taking, taken, refused} {
		if err := root.Mkdir(own, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return reason(err)
		}
	}
	f := &folder{Inbox: b, root: root, source: s, p: journal.Principal{Account: "source/" + s.Code, Agency: s.Agencies[0], Source: s.Code,
		Roles: []journal.Role{journal.RoleSourceSystem}}}
	return errors.Join(f.goOn(ctx), f.takeNew(ctx))
}

// reason is an error without the names of files, which may be anybody's.
func reason(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return fmt.Errorf("%s: %w", path.Op, path.Err)
	case errors.As(err, &link):
		return fmt.Errorf("%s: %w", link.Op, link.Err)
	}
	return err
}

// folder is one source's, while this process has its lock.
type folder struct {
	*Inbox
	root   *os.Root
	source *catalog.Source
	p      journal.Principal
}

// entries are those of a directory in the folder, by name.
func (f *folder) entries(dir string) ([]fs.DirEntry, error) {
	d, err := f.root.Open(dir)
	if err != nil {
		return nil, reason(err)
	}
	defer d.Close()
	found, err := d.ReadDir(entriesAtOnce)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, reason(err)
	}
	slices.SortFunc(found, func(x, y fs.DirEntry) int { return strings.Compare(x.Name(), y.Name()) })
	return found, nil
}

// goOn brings to their end the files that are being taken, also those whose process died over them.
func (f *folder) goOn(ctx context.Context) error {
	found, err := f.entries(taking)
	for _, e := range found {
		err = errors.Join(err, f.goOnWith(ctx, e.Name()))
	}
	return err
}

func (f *folder) goOnWith(ctx context.Context, file string) error {
	id, name, stored := parts(file)
	l, err := f.cfg.Lists.Get(ctx, f.p, id)
	switch lost := errors.Is(err, ingest.ErrNotFound); {
	case lost && stored: // by a database that was restored: the list may have gone before that
		return f.refuse(taking+"/"+file, name, "Список из этого файла ("+id.String()+") в системе больше не найден. "+
			"Узнайте, дошли ли сообщения, и положите файл ещё раз, если его нужно отправить.")
	case lost, err == nil && !stored && l.State == ingest.Receiving: // whoever was storing it has died
		return f.take(ctx, taking+"/"+file, name)
	case err != nil:
		return fmt.Errorf("read list %s: %w", id, err)
	}
	return f.finish(ctx, l, file, name)
}

// parts takes apart the name of a file under taking. One that an older version left without an id has none, and no list that is known.
func parts(file string) (id uuid.UUID, name string, stored bool) {
	before, name, _ := strings.Cut(file, "_")
	before, fresh := strings.CutSuffix(before, asked)
	id, err := uuid.Parse(before)
	if err != nil || len(before) != len(id.String()) {
		return uuid.Nil, file, false
	}
	return id, name, !fresh
}

// takeNew takes what lies whole in the folder, and puts away what cannot be a list.
func (f *folder) takeNew(ctx context.Context) error {
	found, all := f.entries(".")
	here := make(map[string]bool)
	for _, e := range found {
		name := e.Name()
		key := f.source.Code + "/" + name
		here[key] = true
		switch {
		case e.IsDir(), strings.HasPrefix(name, "."), unfinished(name):
		case !e.Type().IsRegular():
			all = errors.Join(all, f.refuse(name, name, "Это не файл, а ссылка или устройство. Положите в папку сам файл."))
		case !goodName(name):
			all = errors.Join(all, f.refuse(name, "file", "Имя файла слишком длинное или содержит недопустимые знаки. Переименуйте файл и положите его ещё раз."))
		default:
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) || err == nil && !f.settled(key, info) {
				continue
			}
			if err == nil {
				delete(f.seen, key)
				err = f.take(ctx, name, name)
			}
			all = errors.Join(all, reason(err))
		}
	}
	for key := range f.seen {
		if strings.HasPrefix(key, f.source.Code+"/") && !here[key] {
			delete(f.seen, key)
		}
	}
	return all
}

// unfinished are names that programs give to what they have not copied whole.
func unfinished(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".part", ".tmp", ".filepart", ".crdownload":
		return true
	}
	return strings.HasPrefix(name, "~") || strings.HasSuffix(name, "~")
}

func goodName(name string) bool {
	return len(name) <= longestName && utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == '\\' })
}

// settled says that a file has not changed for long enough to be whole.
func (f *folder) settled(key string, info fs.FileInfo) bool {
	now := f.cfg.Now()
	was, known := f.seen[key]
	if !known || was.size != info.Size() || !was.modified.Equal(info.ModTime()) {
		f.seen[key] = sight{info.Size(), info.ModTime(), now}
		return false
	}
	return now.Sub(was.since) >= f.cfg.Settle
}

// take stores the list of a file, under an id that the file bears before: whoever comes after a kill asks for that list, and for no other
// that has the same bytes.
func (f *folder) take(ctx context.Context, from, name string) error {
	id := uuid.New()
	path := taking + "/" + id.String() + asked + "_" + name
	if err := f.root.Rename(from, path); err != nil {
		return reason(err)
	}
	file, err := f.root.Open(path)
	if err != nil {
		return reason(err)
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() { // it was changed for something else after the look
		return errors.Join(reason(err), f.refuse(path, name, "Это не файл. Положите в папку сам файл."))
	}
	title := strings.TrimSuffix(name, filepath.Ext(name))
	if citizen.HoldsPersonal(title) || title == "" {
		title = f.source.Title
	}
	_, err = f.cfg.Lists.Submit(ctx, f.p, ingest.Header{ID: id, Name: title, Source: f.source.Code}, file)
	var fault *ingest.Fault
	switch {
	case errors.As(err, &fault) && !errors.Is(err, ingest.ErrBadUpload):
		return f.refuse(path, name, fault.Detail)
	case err != nil:
		return fmt.Errorf("take a file: %w", err)
	}
	f.cfg.Log.Info("a file of a watched folder is taken", "source", f.source.Code, "list_id", id)
	return reason(f.root.Rename(path, taking+"/"+id.String()+"_"+name))
}

// finish answers a file whose list is checked, and puts it away. One that is taken goes: it lies sealed in the database, and here in the
// open. What its sender should see of it comes in the annotated file, where rows have anything said of them.
func (f *folder) finish(ctx context.Context, l *ingest.List, file, name string) error {
	to, remarks := taken, true
	switch l.State {
	case ingest.Receiving, ingest.Checking:
		return nil
	case ingest.Rejected:
		to = refused
	default:
		p, err := f.cfg.Lists.Protocol(ctx, f.p, l.ID, 0, 1)
		if err != nil {
			return fmt.Errorf("read protocol of list %s: %w", l.ID, err)
		}
		remarks = len(p.ErrorRecords) > 0
	}
	path := to + "/" + l.ID.String() + "_" + name
	err := f.write(path+".protocol.json", func(w io.Writer) error { return f.cfg.Lists.WriteProtocol(ctx, f.p, l.ID, w) })
	if err != nil {
		return err
	}
	if remarks {
		download, err := f.cfg.Lists.ProtocolFile(ctx, f.p, l.ID)
		var fault *ingest.Fault
		switch {
		case errors.As(err, &fault): // what cannot be read cannot be given back with remarks
		case err != nil:
			return fmt.Errorf("annotate list %s: %w", l.ID, err)
		default:
			if err := f.write(path+".protocol.xlsx", download); err != nil {
				return err
			}
		}
	}
	if to == taken {
		return reason(f.root.Remove(taking + "/" + file))
	}
	if err := f.write(path+".txt", sentence(l.StateReason)); err != nil {
		return err
	}
	return reason(f.root.Rename(taking+"/"+file, path))
}

// refuse puts away what is no list, with the reason beside it.
func (f *folder) refuse(from, name, why string) error {
	path := refused + "/" + f.cfg.Now().UTC().Format("20060102T150405.000") + "_" + name
	for n := 2; ; n++ { // two of a name within a millisecond
		if _, err := f.root.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			break
		}
		path = fmt.Sprintf("%s/%s.%d_%s", refused, f.cfg.Now().UTC().Format("20060102T150405.000"), n, name)
	}
	if err := f.write(path+".txt", sentence(why)); err != nil {
		return err
	}
	f.cfg.Log.Warn("a file of a watched folder is refused", "source", f.source.Code)
	return reason(f.root.Rename(from, path))
}

// sentence is a text that every editor shows right.
func sentence(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, "\uFEFF"+s+"\r\n")
		return err
	}
}

// write makes a file of ours appear whole.
func (f *folder) write(path string, fill func(io.Writer) error) error {
	const unready = taken + "/.unready"
	file, err := f.root.OpenFile(unready, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return reason(err)
	}
	err = fill(file)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return reason(err)
	}
	return reason(f.root.Rename(unready, path))
}
