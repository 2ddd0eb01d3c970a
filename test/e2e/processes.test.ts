import { processes } from "../runners.ts";
import { suite } from "./suite.ts";

suite(processes);
