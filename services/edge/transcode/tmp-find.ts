import { equals, toJson, fromJsonString } from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { createRandom, randomMessage } from "./testing/random-message.ts";
const go = (a: any, b: any, p: string) => {
  for (const f of a.desc.fields) {
    if (a.isSet(f) !== b.isSet(f)) {
      console.log("isSet", p, f.name, a.isSet(f), b.isSet(f), a.get(f), b.get(f));
      continue;
    }
    if (!a.isSet(f)) continue;
    if (f.fieldKind === "message") go(a.get(f), b.get(f), p + "." + f.name);
    else if (f.fieldKind === "scalar" || f.fieldKind === "enum") {
      if (!Object.is(a.get(f), b.get(f)) && !(a.get(f) instanceof Uint8Array))
        console.log("value", p, f.name, a.get(f), b.get(f));
    } else if (f.fieldKind === "map") {
      const x = a.get(f),
        y = b.get(f);
      for (const k of x.keys()) {
        const u = x.get(k),
          v = y.get(k);
        if (!Object.is(u, v) && f.mapKind === "scalar") console.log("map", p, f.name, k, u, v);
      }
      if (x.size !== y.size) console.log("size", f.name);
      if (f.mapKind === "message")
        for (const k of x.keys()) {
          if (y.get(k) === undefined) {
            console.log("missing", f.name, k, x.has(k), y.has(k));
            continue;
          }
          go(x.get(k), y.get(k), p + "." + f.name);
        }
    }
    if (f.fieldKind === "list" && f.listKind === "message") {
      const x = [...a.get(f)],
        y = [...b.get(f)];
      x.forEach((e, i) => go(e, y[i], p + "." + f.name + i));
    }
  }
};
for (let seed = 1; seed < 1700; seed++) {
  const m = randomMessage(GenerateRequestSchema, createRandom(seed));
  const text = JSON.stringify(toJson(GenerateRequestSchema, m));
  const back = fromJsonString(GenerateRequestSchema, text);
  if (!equals(GenerateRequestSchema, back, m)) {
    console.log(seed, "differs");
    go(reflect(GenerateRequestSchema, m), reflect(GenerateRequestSchema, back), "");
    for (const f of GenerateRequestSchema.fields) {
      const only = (x: any) => {
        const y = fromJsonString(GenerateRequestSchema, "{}") as any;
        if (Object.hasOwn(x, f.localName)) y[f.localName] = x[f.localName];
        return y;
      };
      if (!equals(GenerateRequestSchema, only(m), only(back)))
        console.log("field", f.name, only(m)[f.localName], only(back)[f.localName]);
    }
  }
}
