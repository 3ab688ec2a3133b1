// A static Go program: 200 goroutines, or as many as said, work below the folder given, while signals preempt them.
package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"sync"
	"syscall"
	"time"
)

func must(err error) {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

// spin keeps the processors busy, so that the runtime preempts with SIGURG, and sends more of them itself.
func spin(stop <-chan struct{}) {
	for i := 0; i < runtime.NumCPU()+2; i++ {
		go func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
			}
		}()
	}
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				syscall.Kill(os.Getpid(), syscall.SIGURG)
			}
		}
	}()
}

func work(top string, n int) {
	name := filepath.Join(top, fmt.Sprintf("dir-%d", n%8), fmt.Sprintf("file-%d", n))
	must(os.MkdirAll(filepath.Dir(name), 0o755))
	content := bytes.Repeat([]byte{byte(n)}, 1000+n)
	must(os.WriteFile(name, content, 0o644))
	read, err := os.ReadFile(name)
	must(err)
	if !bytes.Equal(read, content) {
		must(fmt.Errorf("%s was read wrongly", name))
	}
	file, err := os.OpenFile(name, os.O_APPEND|os.O_RDWR, 0)
	must(err)
	_, err = file.WriteString("appended")
	must(err)
	must(file.Sync())
	must(file.Close())
	must(os.Rename(name, name+".new"))
	must(os.Symlink(filepath.Base(name)+".new", name))
	info, err := os.Stat(name)
	must(err)
	if info.Size() != int64(len(content)+8) {
		must(fmt.Errorf("%s has %d bytes", name, info.Size()))
	}
	if _, err := os.Stat(name + ".none"); !os.IsNotExist(err) {
		must(fmt.Errorf("not missing: %v", err))
	}
	must(os.Chtimes(name, time.Unix(1e9, 0), time.Unix(1e9, int64(n))))
	if n%3 == 0 {
		must(os.Remove(name))
	}
}

func main() {
	top, count := os.Args[1], 200
	if len(os.Args) > 2 {
		var err error
		count, err = strconv.Atoi(os.Args[2])
		must(err)
	}
	stop := make(chan struct{})
	spin(stop)
	var group sync.WaitGroup
	for n := 0; n < count; n++ {
		group.Add(1)
		go func(n int) {
			defer group.Done()
			work(top, n)
		}(n)
	}
	group.Wait()
	must(os.Chdir(top))
	var lines []string
	must(filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		must(err)
		info, err := entry.Info()
		must(err)
		if !entry.IsDir() {
			lines = append(lines, fmt.Sprint(path, info.Mode(), info.Size()))
		}
		return nil
	}))
	close(stop)
	sort.Strings(lines)
	for _, line := range lines {
		fmt.Println(line)
	}
	output, err := exec.Command("ls", "dir-1").Output()
	must(err)
	fmt.Println(len(output))
	here, err := os.Getwd()
	must(err)
	fmt.Println(here)
}
