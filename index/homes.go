package index

import "sync"

// Homes remember what accepting measures needs to know about resources: what
// LookupResources is asked. Many resources have the same type, creator and project,
// so that each costs its id and four bytes.
type homes struct {
	most int // resources; another goes when one comes that is too many

	mu        sync.RWMutex
	resources map[ResourceID]uint32 // index in kinds
	kinds     []ResourceInfo
	numbers   map[ResourceInfo]uint32
	changes   uint64 // how often something was forgotten
}

func newHomes(most int) *homes {
	h := &homes{most: max(1, most)}
	h.reset()
	return h
}

// reset forgets everything. The caller has locked mu.
func (h *homes) reset() {
	h.resources, h.kinds, h.numbers = map[ResourceID]uint32{}, nil, map[ResourceInfo]uint32{}
}

// find fills in the infos of the resources that it knows, and returns the indexes of
// the others; asked is for add.
func (h *homes) find(ids []ResourceID, infos []ResourceInfo) (unknown []int, asked uint64) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for i := range ids {
		if k, ok := h.resources[ids[i]]; ok {
			infos[i] = h.kinds[k]
			continue
		}
		infos[i] = ResourceInfo{}
		unknown = append(unknown, i)
	}
	return unknown, h.changes
}

// add remembers what the database said when it was asked, unless something has been
// forgotten since: it may say something else now.
func (h *homes) add(asked uint64, found map[ResourceID]ResourceInfo) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.changes != asked {
		return
	}
	for id, info := range found {
		k, ok := h.numbers[info]
		if !ok && len(h.kinds) >= maxKinds {
			h.reset()
		}
		if !ok {
			k = uint32(len(h.kinds))
			h.kinds, h.numbers[info] = append(h.kinds, info), k
		}
		if len(h.resources) >= h.most {
			for other := range h.resources {
				delete(h.resources, other)
				break
			}
		}
		h.resources[id] = k
	}
}

// forget forgets resources, all of them if there is no list.
func (h *homes) forget(resources []ResourceID, all bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changes++
	if all {
		h.reset()
	}
	for _, id := range resources {
		delete(h.resources, id)
	}
}
