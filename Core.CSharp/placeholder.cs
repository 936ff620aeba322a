namespace Functional;
