import { expect, test } from "vitest";
import { type Account, LeaseBook } from "./lease-book.ts";
import { Line, type Turn, type Waiter } from "./line.ts";

function accountOf(name: string): Account {
  return { key: name, budget: name, subject: "", lease: undefined };
}

/** A line that nobody stands in, two accounts without a lease, and a place for what those who wait are told. */
function emptyLine() {
  const book = new LeaseBook();
  const told: string[] = [];
  return { book, line: new Line(book), a: accountOf("a"), b: accountOf("b"), told };
}

let leaseId = 0n;
function grant(book: LeaseBook, account: Account, grantedTotal: number): void {
  leaseId += 1n;
  const id = account.lease?.id ?? leaseId;
  book.learn(account, { id, grantedTotal, expiresInMs: 1_000, windowEndsInMs: Infinity }, 0);
}

function waiter(accounts: readonly Account[], amount: number, told: string[], name: string): Waiter {
  return { accounts, held: undefined, amount, turn: ({ kind }: Turn) => told.push(`${name} ${kind}`) };
}

test("nobody overtakes another one who waits for the same account, and others do not wait for them", () => {
  const { book, line, a, b, told } = emptyLine();
  grant(book, a, 5);
  grant(book, b, 100);
  const large = waiter([a], 10, told, "large");
  line.add(large);
  line.add(waiter([a, b], 1, told, "behind"));
  line.add(waiter([b], 1, told, "behind too"));
  line.add(waiter([accountOf("c")], 1, told, "apart"));
  expect(line.serve(1).map(({ amount }) => amount)).toEqual([10, 1]);
  expect(told).toEqual([]);
  expect(line.wanted(a)).toBe(11);
  grant(book, a, 11);
  line.serve(1);
  expect(told).toEqual(["large held", "behind held", "behind too held"]);
  expect(line.size).toBe(1);
  expect(line.isAwaited([a, b])).toBe(false);
});

test("calls under way get more before new ones begin", () => {
  const { book, line, a, told } = emptyLine();
  grant(book, a, 10);
  const held = book.take([a], 10, 1);
  line.add(waiter([a], 4, told, "new"));
  line.add({ accounts: [a], held, amount: 4, turn: ({ kind }) => told.push(`under way ${kind}`) });
  grant(book, a, 14);
  line.serve(1);
  expect(told).toEqual(["under way held"]);
});

test("a budget that is gone lets those go who waited for nothing else", () => {
  const { book, line, a, b, told } = emptyLine();
  line.add(waiter([a], 1, told, "one"));
  line.add(waiter([a, b], 1, told, "both"));
  line.leaveOut("a");
  expect(told).toEqual(["one free"]);
  expect(line.wanted(a)).toBe(0);
  grant(book, b, 1);
  line.serve(1);
  expect(told).toEqual(["one free", "both held"]);
});

test("a call under way that waits when one of its budgets is gone goes on within the others, and not beyond them", () => {
  const { book, line, a, b, told } = emptyLine();
  grant(book, a, 10);
  grant(book, b, 10);
  const held = book.take([a, b], 10, 1);
  const leases = held?.leases ?? [];
  line.add({ accounts: [a, b], held, amount: 5, turn: ({ kind }) => told.push(kind) });
  line.leaveOut("a");
  line.serve(1);
  expect(told).toEqual([]);
  grant(book, b, 15);
  line.serve(1);
  expect(told).toEqual(["held"]);
  expect(held?.amount).toBe(15);
  if (held !== undefined) expect(book.settle(held, 12, 1)).toBe(12);
  // Of the first it had ten, all of which were spent; of the second fifteen.
  expect(leases.map(({ free }) => free)).toEqual([0, 3]);
});

test("a call under way of whose budgets none is left needs no more of them", () => {
  const { book, line, a, told } = emptyLine();
  grant(book, a, 10);
  const held = book.take([a], 10, 1);
  line.add({ accounts: [a], held, amount: 5, turn: ({ kind }) => told.push(kind) });
  line.leaveOut("a");
  expect(told).toEqual(["free"]);
});
