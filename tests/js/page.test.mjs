// What `page.js` computes, without a browser and without Python: node --test tests/js

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";

const here = (path) => new URL(path, import.meta.url);
const source = await readFile(here("../../python/interpix/page.js"));
const page = await import(`data:text/javascript;base64,${source.toString("base64")}`);
const answers = JSON.parse(await readFile(here("../data/answers.json"), "utf8"));

const DELETION = { direction: "deletion", ranking: [4, 0, 2], removedBefore: [1] };
const INSERTION = { direction: "insertion", ranking: [4, 0, 2], removedBefore: [] };
const OUTPUT = { quantity: "probability", is_probability: true, exclusive: true, verb: "say", claim: "the answer 'dog'" };
const DATA = { output: OUTPUT, target: { index: 3, name: "dog" }, names: { 3: "dog", 5: "cat" } };

test("answers are written as Python writes them", () => {
  for (const { probability, value, said } of answers) {
    const output = { quantity: "value", is_probability: value === undefined };
    assert.equal(page.writeAnswer(output, value ?? probability).replaceAll("\u00a0", " "), said);
  }
});

test("a step of an insertion has the first patches, one of a deletion all others", () => {
  assert.deepEqual([...page.afterSteps(INSERTION, 2, 6)], [1, 0, 0, 0, 1, 0]);
  assert.deepEqual([...page.afterSteps(DELETION, 2, 6)], [0, 0, 1, 1, 0, 1]);
  assert.deepEqual([...page.afterSteps(DELETION, 0, 6)], [1, 0, 1, 1, 1, 1]);
});

test("keys have a bit for each patch, as numpy.packbits has them", () => {
  const present = Uint8Array.from([1, 0, 0, 0, 0, 0, 0, 1, 0, 1]);
  assert.deepEqual([...page.keyOf(present)].map((one) => one.charCodeAt(0)), [0b10000001, 0b01000000]);
});

test("different coalitions have different keys", () => {
  const keys = new Set();
  for (let number = 0; number < 1024; number += 1) {
    keys.add(page.keyOf(Uint8Array.from({ length: 10 }, (_, bit) => (number >> bit) & 1)));
  }
  assert.equal(keys.size, 1024);
});

test("what was scored is found by its coalition, and nothing else is", () => {
  const base64 = (typed) => Buffer.from(typed.buffer).toString("base64");
  const scored = page.readScored({
    bits: base64(Uint8Array.from([0b10000001, 0b01000000, 0b11111111, 0b11000000])),
    answers: base64(Float64Array.from([0.25, 0.75])),
    predicted: base64(Int32Array.from([5, -1])),
    holds: base64(Uint8Array.from([0, 1])),
  }, 10);
  const present = Uint8Array.from([1, 0, 0, 0, 0, 0, 0, 1, 0, 1]);
  assert.deepEqual(scored.get(page.keyOf(present)), { answer: 0.25, predicted: 5, holds: false });
  assert.deepEqual(scored.get(page.keyOf(new Uint8Array(10).fill(1))), { answer: 0.75, predicted: -1, holds: true });
  assert.equal(scored.get(page.keyOf(new Uint8Array(10))), undefined);
  assert.equal(scored.size, 2);
});

test("a coalition that nobody asked about says so", () => {
  const present = Uint8Array.from([1, 0, 1]);
  assert.match(page.sentence(DATA, present, undefined, false), /^With 2 of 3 patches: the model was not asked .* widget can/);
  assert.match(page.sentence(DATA, present, undefined, true), /the model was not asked about these\.$/);
});

test("an answer that holds, another one, and one of an output without classes are told apart", () => {
  const say = (data, score) => page.sentence(data, Uint8Array.from([1, 0]), score, false).replaceAll("\u00a0", " ");
  assert.equal(say(DATA, { answer: 0.5, predicted: 3, holds: true }), "With 1 of 2 patches the answer is 'dog' (p = .50).");
  assert.equal(say(DATA, { answer: 0.126, predicted: 5, holds: false }),
    "With 1 of 2 patches the answer is 'cat', not 'dog' (p = .13 of 'dog').");
  const value = { ...DATA, output: { ...OUTPUT, exclusive: false, is_probability: false, quantity: "age", claim: "30" } };
  assert.equal(say(value, { answer: 8, predicted: -1, holds: false }), "With 1 of 2 patches the model does not say 30 (age 8).");
});

test("arrow keys go to the patch beside, and stay at the border", () => {
  const centers = [0, 1, 2, 3, 4, 5].map((patch) => [(patch % 3) * 10, Math.floor(patch / 3) * 10]);
  assert.equal(page.neighbor(centers, 0, [1, 0]), 1);
  assert.equal(page.neighbor(centers, 4, [0, -1]), 1);
  assert.equal(page.neighbor(centers, 2, [1, 0]), 2);
  assert.equal(page.neighbor(centers, 2, [0, 1]), 5);
});
