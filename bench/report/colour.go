package report

// Colours are told apart by readers with any of the usual kinds of colour
// blindness (after Okabe and Ito), and have a light and a dark form. A system
// has the same one in every chart and report. The page's style sheet has them
// under the names s0 to s7.
const slots = 8

var slotOf = map[string]int{
	"cofre": 0, "pebble": 1, "pebble-ctr": 2, "badger": 3, "badger-encrypted": 4, "bbolt": 5, "sqlite-encrypted": 6,
}

// colours gives each system its colour: known ones their own, others what is left.
func (r *Report) colours() []int {
	used := make(map[int]bool)
	for _, s := range r.Systems {
		if c, ok := slotOf[s.Name]; ok {
			used[c] = true
		}
	}
	colours := make([]int, len(r.Systems))
	next := slots - 1
	for i, s := range r.Systems {
		c, ok := slotOf[s.Name]
		if !ok {
			for n := 0; n < slots && used[next]; n++ {
				next = (next + slots - 1) % slots
			}
			c, used[next] = next, true
		}
		colours[i] = c
	}
	return colours
}
