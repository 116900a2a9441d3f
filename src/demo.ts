// The demo: two nodes of the same code on one embedded broker in one process, tokens minted, and a page to look at
