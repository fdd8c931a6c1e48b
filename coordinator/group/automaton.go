package group

import (
	"encoding/binary"
	"regexp/syntax"
	"slices"
)

// automaton matches whole names with an expression, by states that it makes when it first needs them: a state is all
// places in the expression that a match may be at after some characters. Names have much in common, so that most
// characters of most names need a look into a table only, where regexp would go through all of those places again. Without
// that a member could keep all groups of its coordinator waiting with one expression.
//
// Names are of ASCII, without line breaks; the expression has no word boundaries.
type automaton struct {
	prog   *syntax.Prog
	states map[string]*automatonState
	start  *automatonState
	bytes  int        // that the states take, about
	class  [128]uint8 // of a character: the expression makes no difference between those of one class
	char   []rune     // one of each class

	// For making a state.
	here   syntax.EmptyOp // what is true of the place in the name
	places []uint32
	seen   []uint32 // by instruction: the mark of the state that it was last looked at for
	mark   uint32
	stack  []uint32 // instructions still to be looked at
	key    []byte
}

// automatonState is a set of instructions: those that take a character, and those that wait for the end of the name.
type automatonState struct {
	places  string // instructions, ascending, two bytes each
	accepts bool   // a name that ends here matches
	next    []*automatonState
}

// automatonBytesMax is how much memory states may take before all are forgotten.
const automatonBytesMax = 4 << 20

// newAutomaton is nil for an expression with word boundaries.
func newAutomaton(prog *syntax.Prog) *automaton {
	for i := range prog.Inst {
		words := uint32(syntax.EmptyWordBoundary | syntax.EmptyNoWordBoundary)
		if in := &prog.Inst[i]; in.Op == syntax.InstEmptyWidth && in.Arg&words != 0 {
			return nil
		}
	}
	a := &automaton{prog: prog, seen: make([]uint32, len(prog.Inst))}
	a.classify()
	return a
}

// classify divides the characters where any instruction takes the one and not the next.
func (a *automaton) classify() {
	var differs [128]bool // from the one before
	for i := range a.prog.Inst {
		in := &a.prog.Inst[i]
		if !takes(in) {
			continue
		}
		before := in.MatchRune(0)
		for r := rune(1); r < 128; r++ {
			if now := in.MatchRune(r); now != before {
				differs[r], before = true, now
			}
		}
	}
	a.char = []rune{0}
	for r := rune(1); r < 128; r++ {
		if differs[r] {
			a.char = append(a.char, r)
		}
		a.class[r] = uint8(len(a.char) - 1)
	}
}

// matches says whether the whole name fits; known is false when that is beyond the automaton.
func (a *automaton) matches(name string) (fits, known bool) {
	for i := range len(name) {
		if name[i] >= 128 || name[i] == '\n' {
			return false, false
		}
	}
	if name == "" {
		return false, false
	}
	if a.start == nil || a.bytes > automatonBytesMax {
		a.states, a.bytes = map[string]*automatonState{}, 0
		a.begin(syntax.EmptyBeginText | syntax.EmptyBeginLine)
		a.follow(uint32(a.prog.Start))
		a.start = a.state()
	}
	state := a.start
	for i := range len(name) {
		class := a.class[name[i]]
		next := state.next[class]
		if next == nil {
			next = a.step(state, a.char[class])
			state.next[class] = next
		}
		if len(next.places) == 0 && !next.accepts {
			return false, true
		}
		state = next
	}
	return state.accepts, true
}

// step is the state after one more character.
func (a *automaton) step(from *automatonState, r rune) *automatonState {
	a.begin(0)
	for i := 0; i < len(from.places); i += 2 {
		in := &a.prog.Inst[from.place(i)]
		if takes(in) && in.MatchRune(r) {
			a.follow(in.Out)
		}
	}
	return a.state()
}

func takes(in *syntax.Inst) bool {
	switch in.Op {
	case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
		return true
	}
	return false
}

// begin begins a state, with what is true of its place in the name.
func (a *automaton) begin(here syntax.EmptyOp) {
	a.mark++
	a.here, a.places = here, a.places[:0]
}

// follow adds what can be reached from an instruction without a character.
func (a *automaton) follow(at uint32) {
	a.stack = append(a.stack, at)
	for len(a.stack) > 0 {
		at := a.stack[len(a.stack)-1]
		a.stack = a.stack[:len(a.stack)-1]
		if a.seen[at] == a.mark {
			continue
		}
		a.seen[at] = a.mark
		switch in := &a.prog.Inst[at]; in.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			a.stack = append(a.stack, in.Out, in.Arg)
		case syntax.InstCapture, syntax.InstNop:
			a.stack = append(a.stack, in.Out)
		case syntax.InstEmptyWidth:
			if syntax.EmptyOp(in.Arg)&^a.here == 0 {
				a.stack = append(a.stack, in.Out)
			} else if syntax.EmptyOp(in.Arg)&^atEnd == 0 {
				a.places = append(a.places, at)
			}
		case syntax.InstFail:
		default:
			a.places = append(a.places, at)
		}
	}
}

// atEnd is what is true behind the last character.
const atEnd = syntax.EmptyEndText | syntax.EmptyEndLine

// state is the one with the places that were found.
func (a *automaton) state() *automatonState {
	slices.Sort(a.places)
	a.key = a.key[:0]
	for _, at := range a.places {
		a.key = binary.LittleEndian.AppendUint16(a.key, uint16(at))
	}
	if s := a.states[string(a.key)]; s != nil {
		return s
	}
	s := &automatonState{places: string(a.key), next: make([]*automatonState, len(a.char))}
	a.begin(atEnd)
	for i := 0; i < len(s.places); i += 2 {
		if in := &a.prog.Inst[s.place(i)]; in.Op == syntax.InstEmptyWidth {
			a.follow(in.Out)
		} else {
			s.accepts = s.accepts || in.Op == syntax.InstMatch
		}
	}
	for _, at := range a.places {
		s.accepts = s.accepts || a.prog.Inst[at].Op == syntax.InstMatch
	}
	a.states[s.places] = s
	a.bytes += len(s.places) + 8*len(s.next) + 200
	return s
}

func (s *automatonState) place(i int) uint32 { return uint32(s.places[i]) | uint32(s.places[i+1])<<8 }
